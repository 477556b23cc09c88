// Package schema names what a certification authority's database holds: the
// tables, columns, dispositions, reasons and text forms of Active Directory
// Certificate Services, as `certutil -schema` prints them.
//
// The embedded authority writes its SQLite database by [SQLite], and package
// cadb reads that database, and later AD CS's own, under the same names. The
// package is pure: no database, no files.
//
// # Values
//
// Dates are FILETIME numbers, see [Filetime]; NULL or 0 is "not set". Serial
// numbers are lower-case hexadecimal text, see [SerialText]. Hashes and key
// identifiers are hexadecimal text with a space between bytes, see [HexText].
// Long columns are unsigned 32-bit numbers here, also where AD CS has an
// HRESULT in them. Binary columns are DER, without PEM armour.
//
// A request without a certificate has a row in Certificates all the same, with
// SerialNumber and RawCertificate NULL, as in AD CS.
package schema

// Type is the type of a column, as certutil -schema names it.
type Type string

// The column types, and how SQLite holds each of them.
const (
	Long   Type = "Long"   // INTEGER, 0 to 2^32-1
	Date   Type = "Date"   // INTEGER, a FILETIME
	String Type = "String" // TEXT
	Binary Type = "Binary" // BLOB
)

// The five tables.
const (
	Requests              = "Requests"
	Certificates          = "Certificates"
	RequestAttributes     = "RequestAttributes"
	CertificateExtensions = "CertificateExtensions"
	CRLs                  = "CRLs"
)

// Column is one column of a table.
type Column struct {
	Name string
	Type Type

	// Max is the greatest length in bytes that AD CS allows; 0 for Long and
	// Date. The embedded authority refuses more, and reading stops at
	// [MaxCell], which is larger than any of them.
	Max int
}

// MaxCell bounds what is read from one cell of a database that somebody else
// may have written, in bytes. Only CRLs come near it.
const MaxCell = 64 << 20

// Table is a table and its columns in the order of [SQLite].
type Table struct {
	Name    string
	Columns []Column
}

// Tables lists the five tables. It must not be changed.
var Tables = []Table{
	{Requests, append([]Column{
		{"RequestID", Long, 0},
		{"RawRequest", Binary, 65536},
		{"RawArchivedKey", Binary, 65536},
		{"KeyRecoveryHashes", String, 8192},
		{"RawOldCertificate", Binary, 16384},
		{"RequestAttributes", String, 32768},
		{"RequestType", Long, 0},
		{"RequestFlags", Long, 0},
		{"StatusCode", Long, 0},
		{"Disposition", Long, 0},
		{"DispositionMessage", String, 8192},
		{"SubmittedWhen", Date, 0},
		{"ResolvedWhen", Date, 0},
		{"RevokedWhen", Date, 0},
		{"RevokedEffectiveWhen", Date, 0},
		{"RevokedReason", Long, 0},
		{"RequesterName", String, 2048},
		{"CallerName", String, 2048},
		{"SignerPolicies", String, 8192},
		{"SignerApplicationPolicies", String, 8192},
		{"Officer", Long, 0},
	}, subjectColumns...)},
	{Certificates, append([]Column{
		{"RequestID", Long, 0},
		{"RawCertificate", Binary, 16384},
		{"CertificateHash", String, 128},
		{"CertificateTemplate", String, 254},
		{"EnrollmentFlags", Long, 0},
		{"GeneralFlags", Long, 0},
		{"PrivatekeyFlags", Long, 0},
		{"SerialNumber", String, 128},
		{"IssuerNameID", Long, 0},
		{"NotBefore", Date, 0},
		{"NotAfter", Date, 0},
		{"SubjectKeyIdentifier", String, 128},
		{"RawPublicKey", Binary, 4096},
		{"PublicKeyLength", Long, 0},
		{"PublicKeyAlgorithm", String, 254},
		{"RawPublicKeyAlgorithmParameters", Binary, 4096},
		{"PublishExpiredCertInCRL", Long, 0},
		{"UPN", String, 2048},
	}, subjectColumns...)},
	{RequestAttributes, []Column{
		{"AttributeRequestId", Long, 0},
		{"AttributeName", String, 254},
		{"AttributeValue", String, 8192},
	}},
	{CertificateExtensions, []Column{
		{"ExtensionRequestId", Long, 0},
		{"ExtensionName", String, 254},
		{"ExtensionFlags", Long, 0},
		{"ExtensionRawValue", Binary, 4096},
	}},
	{CRLs, []Column{
		{"RowId", Long, 0},
		{"Number", Long, 0},
		{"MinBase", Long, 0},
		{"NameId", Long, 0},
		{"Count", Long, 0},
		{"ThisUpdate", Date, 0},
		{"NextUpdate", Date, 0},
		{"ThisPublish", Date, 0},
		{"NextPublish", Date, 0},
		{"Effective", Date, 0},
		{"PropagationComplete", Date, 0},
		{"CRLLastPublished", Date, 0},
		{"CRLPublishAttempts", Long, 0},
		{"CRLPublishFlags", Long, 0},
		{"CRLPublishStatusCode", Long, 0},
		{"CRLPublishError", String, 8192},
		{"RawCRL", Binary, 0},
	}},
}

// subjectColumns stand at the end of Requests (as asked for) and of
// Certificates (as issued).
var subjectColumns = []Column{
	{"DistinguishedName", String, 8192},
	{"RawName", Binary, 4096},
	{"Country", String, 8192},
	{"Organization", String, 8192},
	{"OrgUnit", String, 8192},
	{"CommonName", String, 8192},
	{"Locality", String, 8192},
	{"State", String, 8192},
	{"Title", String, 8192},
	{"GivenName", String, 8192},
	{"Initials", String, 8192},
	{"SurName", String, 8192},
	{"DomainComponent", String, 8192},
	{"EMail", String, 8192},
	{"StreetAddress", String, 8192},
	{"UnstructuredName", String, 8192},
	{"UnstructuredAddress", String, 8192},
	{"DeviceSerialNumber", String, 8192},
}
