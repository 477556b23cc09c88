package certadm

import "fmt"

// CAPropertyID is the PropID argument of GetCAProperty (certcli.h, CR_PROP_*;
// MS-WCCE 3.2.1.4.3.2).
type CAPropertyID int32

// The properties that matter to a backup, and those next to them; a "[]" says
// that the property has an index. Certificates and CRLs are indexed by the CA's
// certificates, the oldest being 0.
const (
	PropFileVersion         CAPropertyID = 1  // CR_PROP_FILEVERSION: of the server program
	PropProductVersion      CAPropertyID = 2  // CR_PROP_PRODUCTVERSION
	PropExitCount           CAPropertyID = 3  // CR_PROP_EXITCOUNT: number of exit modules
	PropPolicyDescription   CAPropertyID = 5  // CR_PROP_POLICYDESCRIPTION: of the policy module
	PropCAName              CAPropertyID = 6  // CR_PROP_CANAME: common name
	PropSanitizedCAName     CAPropertyID = 7  // CR_PROP_SANITIZEDCANAME, see [SanitizeName]
	PropSharedFolder        CAPropertyID = 8  // CR_PROP_SHAREDFOLDER
	PropParentCA            CAPropertyID = 9  // CR_PROP_PARENTCA
	PropCAType              CAPropertyID = 10 // CR_PROP_CATYPE, one of the CAType… values
	PropCASigCertCount      CAPropertyID = 11 // CR_PROP_CASIGCERTCOUNT: number of CA certificates
	PropCASigCert           CAPropertyID = 12 // CR_PROP_CASIGCERT []: a CA certificate
	PropCASigCertChain      CAPropertyID = 13 // CR_PROP_CASIGCERTCHAIN []: with its issuers, PKCS #7
	PropCAXchgCertCount     CAPropertyID = 14 // CR_PROP_CAXCHGCERTCOUNT: for key archival
	PropCAXchgCert          CAPropertyID = 15 // CR_PROP_CAXCHGCERT []
	PropCAXchgCertChain     CAPropertyID = 16 // CR_PROP_CAXCHGCERTCHAIN []
	PropBaseCRL             CAPropertyID = 17 // CR_PROP_BASECRL []
	PropDeltaCRL            CAPropertyID = 18 // CR_PROP_DELTACRL []
	PropCACertState         CAPropertyID = 19 // CR_PROP_CACERTSTATE []: 3 is valid
	PropCRLState            CAPropertyID = 20 // CR_PROP_CRLSTATE []: 3 is valid
	PropCAPropIDMax         CAPropertyID = 21 // CR_PROP_CAPROPIDMAX: the highest property that the server knows
	PropDNSName             CAPropertyID = 22 // CR_PROP_DNSNAME: of the server
	PropRoleSeparation      CAPropertyID = 23 // CR_PROP_ROLESEPARATIONENABLED: 1 if one account may have one role only
	PropKRACertUsedCount    CAPropertyID = 24 // CR_PROP_KRACERTUSEDCOUNT: key recovery agents
	PropKRACertCount        CAPropertyID = 25 // CR_PROP_KRACERTCOUNT
	PropKRACert             CAPropertyID = 26 // CR_PROP_KRACERT []
	PropKRACertState        CAPropertyID = 27 // CR_PROP_KRACERTSTATE []
	PropAdvancedServer      CAPropertyID = 28 // CR_PROP_ADVANCEDSERVER
	PropTemplates           CAPropertyID = 29 // CR_PROP_TEMPLATES: "NAME\nOID\n" for each certificate template
	PropBaseCRLStatus       CAPropertyID = 30 // CR_PROP_BASECRLPUBLISHSTATUS []
	PropDeltaCRLStatus      CAPropertyID = 31 // CR_PROP_DELTACRLPUBLISHSTATUS []
	PropCASigCertCRLChain   CAPropertyID = 32 // CR_PROP_CASIGCERTCRLCHAIN []: certificates and CRLs, PKCS #7
	PropCACertStatusCode    CAPropertyID = 34 // CR_PROP_CACERTSTATUSCODE []: an HRESULT, 0 is valid
	PropCACertVersion       CAPropertyID = 39 // CR_PROP_CACERTVERSION []: indexes of certificate and key
	PropSanitizedShortName  CAPropertyID = 40 // CR_PROP_SANITIZEDCASHORTNAME
	PropCertCDPURLs         CAPropertyID = 41 // CR_PROP_CERTCDPURLS []: "URL\n" for each
	PropCertAIAURLs         CAPropertyID = 42 // CR_PROP_CERTAIAURLS []
	PropCertAIAOCSPURLs     CAPropertyID = 43 // CR_PROP_CERTAIAOCSPRLS []
	PropLocaleName          CAPropertyID = 44 // CR_PROP_LOCALENAME
	PropSubjectTemplateOIDs CAPropertyID = 45 // CR_PROP_SUBJECTTEMPLATE_OIDS
)

// Values of [PropCAType] (certsrv.h, ENUM_CATYPES).
const (
	CATypeEnterpriseRoot        = 0
	CATypeEnterpriseSubordinate = 1
	CATypeStandaloneRoot        = 3
	CATypeStandaloneSubordinate = 4
)

// CADispositionValid is the value of [PropCACertState] and [PropCRLState] for
// one that can be used (certcli.h, CA_DISP_VALID).
const CADispositionValid = 3

var properties = map[CAPropertyID]struct {
	name    string
	t       PropertyType
	indexed bool
}{
	PropFileVersion:         {"CR_PROP_FILEVERSION", PropertyString, false},
	PropProductVersion:      {"CR_PROP_PRODUCTVERSION", PropertyString, false},
	PropExitCount:           {"CR_PROP_EXITCOUNT", PropertyLong, false},
	PropPolicyDescription:   {"CR_PROP_POLICYDESCRIPTION", PropertyString, false},
	PropCAName:              {"CR_PROP_CANAME", PropertyString, false},
	PropSanitizedCAName:     {"CR_PROP_SANITIZEDCANAME", PropertyString, false},
	PropSharedFolder:        {"CR_PROP_SHAREDFOLDER", PropertyString, false},
	PropParentCA:            {"CR_PROP_PARENTCA", PropertyString, false},
	PropCAType:              {"CR_PROP_CATYPE", PropertyLong, false},
	PropCASigCertCount:      {"CR_PROP_CASIGCERTCOUNT", PropertyLong, false},
	PropCASigCert:           {"CR_PROP_CASIGCERT", PropertyBinary, true},
	PropCASigCertChain:      {"CR_PROP_CASIGCERTCHAIN", PropertyBinary, true},
	PropCAXchgCertCount:     {"CR_PROP_CAXCHGCERTCOUNT", PropertyLong, false},
	PropCAXchgCert:          {"CR_PROP_CAXCHGCERT", PropertyBinary, true},
	PropCAXchgCertChain:     {"CR_PROP_CAXCHGCERTCHAIN", PropertyBinary, true},
	PropBaseCRL:             {"CR_PROP_BASECRL", PropertyBinary, true},
	PropDeltaCRL:            {"CR_PROP_DELTACRL", PropertyBinary, true},
	PropCACertState:         {"CR_PROP_CACERTSTATE", PropertyLong, true},
	PropCRLState:            {"CR_PROP_CRLSTATE", PropertyLong, true},
	PropCAPropIDMax:         {"CR_PROP_CAPROPIDMAX", PropertyLong, false},
	PropDNSName:             {"CR_PROP_DNSNAME", PropertyString, false},
	PropRoleSeparation:      {"CR_PROP_ROLESEPARATIONENABLED", PropertyLong, false},
	PropKRACertUsedCount:    {"CR_PROP_KRACERTUSEDCOUNT", PropertyLong, false},
	PropKRACertCount:        {"CR_PROP_KRACERTCOUNT", PropertyLong, false},
	PropKRACert:             {"CR_PROP_KRACERT", PropertyBinary, true},
	PropKRACertState:        {"CR_PROP_KRACERTSTATE", PropertyLong, true},
	PropAdvancedServer:      {"CR_PROP_ADVANCEDSERVER", PropertyLong, false},
	PropTemplates:           {"CR_PROP_TEMPLATES", PropertyString, false},
	PropBaseCRLStatus:       {"CR_PROP_BASECRLPUBLISHSTATUS", PropertyLong, true},
	PropDeltaCRLStatus:      {"CR_PROP_DELTACRLPUBLISHSTATUS", PropertyLong, true},
	PropCASigCertCRLChain:   {"CR_PROP_CASIGCERTCRLCHAIN", PropertyBinary, true},
	PropCACertStatusCode:    {"CR_PROP_CACERTSTATUSCODE", PropertyLong, true},
	PropCACertVersion:       {"CR_PROP_CACERTVERSION", PropertyLong, true},
	PropSanitizedShortName:  {"CR_PROP_SANITIZEDCASHORTNAME", PropertyString, false},
	PropCertCDPURLs:         {"CR_PROP_CERTCDPURLS", PropertyString, true},
	PropCertAIAURLs:         {"CR_PROP_CERTAIAURLS", PropertyString, true},
	PropCertAIAOCSPURLs:     {"CR_PROP_CERTAIAOCSPRLS", PropertyString, true},
	PropLocaleName:          {"CR_PROP_LOCALENAME", PropertyString, false},
	PropSubjectTemplateOIDs: {"CR_PROP_SUBJECTTEMPLATE_OIDS", PropertyString, false},
}

// Type is the type that the property has; 0 for one without a constant here.
func (id CAPropertyID) Type() PropertyType { return properties[id].t }

// Indexed reports whether the property has more values than one.
func (id CAPropertyID) Indexed() bool { return properties[id].indexed }

// String is the constant's name in certcli.h.
func (id CAPropertyID) String() string {
	if p, ok := properties[id]; ok {
		return p.name
	}
	return fmt.Sprintf("CR_PROP %d", int32(id))
}
