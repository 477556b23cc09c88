package schema

import "strings"

// renamed are the columns that are called otherwise on disk than certutil prints
// them, apart from the "$" before every String: what [Tables] has, by the lower-case
// name, and what AD CS's databases have had, the newest first.
var renamed = map[string][]string{
	"orgunit":                         {"OrganizationalUnit"},
	"state":                           {"StateOrProvince"},
	"certificatehash":                 {"CertificateHash2"}, // besides an older column of the plain name
	"rawpublickey":                    {"PublicKey"},
	"rawpublickeyalgorithmparameters": {"PublicKeyParams"},
	"attributerequestid":              {"RequestID"},
	"extensionrequestid":              {"RequestID"},
	"propagationcomplete":             {"PropgationComplete"}, // so spelled by some versions
}

// DiskNames lists the names that a column of a table may have in AD CS's own
// database, the one to prefer first. They are to be compared with [DiskName].
func DiskNames(table, column string) []string {
	names := append([]string{}, renamed[strings.ToLower(column)]...)
	names = append(names, column)
	if table == CRLs && !strings.HasPrefix(column, "CRL") {
		names = append(names, "CRL"+column) // as certutil -view has it
	}
	for i, n := range names {
		names[i] = DiskName(n)
	}
	return names
}

// DiskName is the form in which names of columns are compared: AD CS puts a "$"
// before those of Strings, and the engine does not tell upper from lower case.
func DiskName(name string) string { return strings.ToLower(strings.TrimPrefix(name, "$")) }
