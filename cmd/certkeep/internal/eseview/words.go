package eseview

import (
	"fmt"
	"strings"
)

// What an anonymous report may name: the tables, columns and indexes that every CA has,
// and those of the engine itself. Upper and lower case and the "$" before names of
// texts do not matter.

var caTables = wordSet(`Requests Certificates RequestAttributes CertificateExtensions CRLs`)

var caColumns = wordSet(`
RequestID RawRequest RawArchivedKey KeyRecoveryHashes RawOldCertificate RequestAttributes RequestType RequestFlags StatusCode
Disposition DispositionMessage SubmittedWhen ResolvedWhen RevokedWhen RevokedEffectiveWhen RevokedReason RequesterName CallerName
SignerPolicies SignerApplicationPolicies Officer AttestationChallenge EndorsementKeyHash EndorsementCertificateHash
RawPrecertificate
RawCertificate CertificateHash CertificateHash2 CertificateTemplate EnrollmentFlags GeneralFlags PrivateKeyFlags SerialNumber
IssuerNameID NotBefore NotAfter SubjectKeyIdentifier PublicKey RawPublicKey PublicKeyLength PublicKeyAlgorithm PublicKeyParams
RawPublicKeyAlgorithmParameters PublishExpiredCertInCRL UPN
DistinguishedName RawName Country Organization OrgUnit OrganizationalUnit CommonName Locality State StateOrProvince Title
GivenName Initials SurName DomainComponent EMail StreetAddress UnstructuredName UnstructuredAddress DeviceSerialNumber
AttributeRequestID AttributeName AttributeValue ExtensionRequestID ExtensionName ExtensionFlags ExtensionRawValue
RowID CRLRowID Number CRLNumber MinBase CRLMinBase NameID CRLNameID Count CRLCount ThisUpdate CRLThisUpdate NextUpdate
CRLNextUpdate ThisPublish CRLThisPublish NextPublish CRLNextPublish Effective CRLEffective PropagationComplete
PropgationComplete CRLPropagationComplete CRLLastPublished CRLPublishAttempts CRLPublishFlags CRLPublishStatusCode
CRLPublishError RawCRL CRLRawCRL CRLPartitionIndex PartitionIndex`)

// indexWords are what names of indexes have besides those of tables and columns.
var indexWords = wordSet(`Primary Primarykey Index Indexes Idx Ix Pk Key Unique Id Name Value Hash`)

var systemTables = wordSet(`MSysObjects MSysObjectsShadow MSysObjids MSysLocales MSysUnicodeFixupVer1 MSysUnicodeFixupVer2
MSysDefrag1 MSysDefrag2 MSysExtentPageCountCache MSysDatabaseMaintenance MSysDeferredPopulateKeys`)

var systemWords = wordSet(`
ObjidTable Type Id ColtypOrPgnoFDP SpaceUsage Flags PagesOrLocale RootFlag RecordOffset LCMapFlags KeyMost LVChunkMax
PgnoFDPLastSetTime Name Stats TemplateTable DefaultValue KeyFldIDs VarSegMac ConditionalColumns TupleLimits Version SortID
CallbackData CallbackDependencies SeparateLV SpaceHints SpaceDeferredLVHints LocaleName RootObjects
objid Key iValue Primary KeyPrimary`)

func wordSet(s string) map[string]bool {
	set := make(map[string]bool)
	for _, w := range strings.Fields(s) {
		set[strings.ToLower(w)] = true
	}
	return set
}

// plain is a name as it is compared.
func plain(name string) string { return strings.ToLower(strings.TrimPrefix(name, "$")) }

// nameOf gives the names of one table that may be told.
type nameOf struct {
	known, system bool
	table         string
}

func namesOf(table string, id uint32) nameOf {
	n := nameOf{known: caTables[strings.ToLower(table)], system: systemTables[strings.ToLower(table)]}
	if n.table = table; !n.known && !n.system {
		n.table = fmt.Sprintf("table-%d", id)
	}
	return n
}

func (n nameOf) column(name string, id uint32) string {
	if n.known && caColumns[plain(name)] || n.system && systemWords[strings.ToLower(name)] {
		return name
	}
	return fmt.Sprintf("column-%d", id)
}

// index tells a name that is made of known words alone, as "Requests.$CommonName".
func (n nameOf) index(name string, id uint32) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("._-$ ", r) })
	for _, w := range words {
		w = strings.ToLower(w)
		ca := n.known && (caTables[w] || caColumns[w] || indexWords[w])
		if !ca && (!n.system || !systemWords[w]) {
			words = nil
			break
		}
	}
	if len(words) == 0 {
		return fmt.Sprintf("index-%d", id)
	}
	return name
}
