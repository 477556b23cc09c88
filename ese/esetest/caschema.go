package esetest

import (
	"github.com/certkeep/certkeep/ese"
)

// The tables of a certification authority as they are on disk: names as the engine
// has them, which differ from those of certutil. Types and lengths are those that
// "certutil -view" knows; a text of at most 255 bytes is taken for a Text, a longer
// one for a LongText.

// text is a column of UTF-16.
func text(name string, size int) Column {
	c := Column{Name: name, Type: ese.LongText, Size: size}
	if size <= 255 {
		c.Type = ese.Text
	}
	return c
}

func long(name string) Column { return Column{Name: name, Type: ese.Long} }

func date(name string) Column { return Column{Name: name, Type: ese.DateTime} }

func blob(name string, size int) Column {
	return Column{Name: name, Type: ese.LongBinary, Size: size}
}

// subject are the columns that Requests and Certificates have of a name, as in
// schema.Subject.
func subject() []Column {
	columns := []Column{text("$DistinguishedName", 8192), blob("RawName", 4096)}
	for _, name := range subjectColumns {
		columns = append(columns, text(name, 8192))
	}
	return columns
}

var subjectColumns = []string{"$Country", "$Organization", "$OrganizationalUnit", "$CommonName", "$Locality", "$StateOrProvince", "$Title",
	"$GivenName", "$Initials", "$SurName", "$DomainComponent", "$EMail", "$StreetAddress", "$UnstructuredName", "$UnstructuredAddress", "$DeviceSerialNumber"}

// withIndexes adds an index for each of those columns.
func withIndexes(s TableSpec, columns ...string) TableSpec {
	for _, name := range columns {
		s.Indexes = append(s.Indexes, Index{Name: s.Name + "." + name, Columns: []string{name}})
	}
	return s
}

func requestsSpec() TableSpec {
	id := long("RequestID")
	id.Flags = ese.ColumnNotNull | ese.ColumnAutoIncrement
	columns := []Column{
		id, blob("RawRequest", 65536), blob("RawArchivedKey", 65536), text("$KeyRecoveryHashes", 8192), blob("RawOldCertificate", 16384),
		text("$RequestAttributes", 32768), long("RequestType"), long("RequestFlags"), long("StatusCode"), long("Disposition"),
		text("$DispositionMessage", 8192), date("SubmittedWhen"), date("ResolvedWhen"), date("RevokedWhen"), date("RevokedEffectiveWhen"),
		long("RevokedReason"), text("$RequesterName", 2048), text("$CallerName", 2048), text("$SignerPolicies", 8192),
		text("$SignerApplicationPolicies", 8192), long("Officer"),
	}
	columns = append(columns, subject()...)
	columns = append(columns, blob("AttestationChallenge", 4096), text("$EndorsementKeyHash", 144), text("$EndorsementCertificateHash", 144),
		blob("RawPrecertificate", 16384))
	return withIndexes(TableSpec{Name: "Requests", Columns: columns,
		Indexes: []Index{{Name: "Requests.RequestID", Columns: []string{"RequestID"}, Primary: true}}},
		"Disposition", "SubmittedWhen", "ResolvedWhen", "RevokedEffectiveWhen", "$RequesterName", "$CallerName", "$EndorsementKeyHash",
		"$EndorsementCertificateHash")
}

func certificatesSpec() TableSpec {
	id := long("RequestID")
	id.Flags = ese.ColumnNotNull
	columns := []Column{
		id, blob("RawCertificate", 16384), text("$CertificateHash2", 128), text("$CertificateTemplate", 254), long("EnrollmentFlags"),
		long("GeneralFlags"), long("PrivateKeyFlags"), text("$SerialNumber", 128), long("IssuerNameID"), date("NotBefore"), date("NotAfter"),
		text("$SubjectKeyIdentifier", 128), blob("PublicKey", 4096), long("PublicKeyLength"), text("$PublicKeyAlgorithm", 254),
		blob("PublicKeyParams", 4096), long("PublishExpiredCertInCRL"), text("$UPN", 2048),
	}
	return withIndexes(TableSpec{Name: "Certificates", Columns: append(columns, subject()...),
		Indexes: []Index{{Name: "Certificates.RequestID", Columns: []string{"RequestID"}, Primary: true}}},
		"$CertificateHash2", "$CertificateTemplate", "$SerialNumber", "NotAfter", "$SubjectKeyIdentifier", "$UPN", "$CommonName")
}

// namedSpec is a table of rows that belong to a request and have a name.
func namedSpec(name, nameColumn string, more ...Column) TableSpec {
	id := long("RequestID")
	id.Flags = ese.ColumnNotNull
	return withIndexes(TableSpec{Name: name, Columns: append([]Column{id, text(nameColumn, 254)}, more...),
		Indexes: []Index{{Name: name + ".Primary", Columns: []string{"RequestID", nameColumn}, Primary: true}}}, "RequestID")
}

func crlsSpec() TableSpec {
	id := long("RowId")
	id.Flags = ese.ColumnNotNull | ese.ColumnAutoIncrement
	return withIndexes(TableSpec{Name: "CRLs", Columns: []Column{
		id, long("Number"), long("MinBase"), long("NameId"), long("Count"), date("ThisUpdate"), date("NextUpdate"), date("ThisPublish"),
		date("NextPublish"), date("Effective"), date("PropagationComplete"), date("CRLLastPublished"), long("CRLPublishAttempts"),
		long("CRLPublishFlags"), long("CRLPublishStatusCode"), text("$CRLPublishError", 8192), blob("RawCRL", 0),
	}, Indexes: []Index{{Name: "CRLs.RowId", Columns: []string{"RowId"}, Primary: true}}}, "Number")
}
