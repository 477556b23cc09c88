package certsrv

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/internal/durable"
)

// Config is config.json, the settings of one authority. It holds no secret,
// because it is one of the dynamic files that a backup copies. It is read by
// [New]; a change counts from the next one on.
type Config struct {
	Schema        int    `json:"schema"` // 1
	Name          string `json:"name"`   // the common name of the CA certificate
	SanitizedName string `json:"sanitized_name"`

	// Host is the machine's name in the UNC names of lists.
	Host string `json:"host"`

	// Database is the database file, relative to the directory, with slashes. A
	// restore to a new place changes it.
	Database string `json:"database"`

	// AutoIssue lets requests through without an officer; otherwise they wait as
	// pending ones.
	AutoIssue bool `json:"auto_issue"`

	// CertificateValidity is the lifetime of issued certificates; it ends with
	// the CA's own at the latest.
	CertificateValidity Duration `json:"certificate_validity"`

	// CRLValidity is the time from a CRL's thisUpdate to its nextUpdate;
	// CRLOverlap is how long before nextUpdate the authority publishes the next
	// one by itself.
	CRLValidity Duration `json:"crl_validity"`
	CRLOverlap  Duration `json:"crl_overlap"`

	// InterfaceFlags say who may call from where. Of the bits of package certadm
	// these have an effect: IfNoRemoteAdmin, IfNoLocalAdmin,
	// IfNoRemoteAdminBackup and IfNoLocalAdminBackup. The other ones are kept.
	InterfaceFlags certadm.InterfaceFlags `json:"interface_flags"`

	// AuditFilter selects the audit events: 0x1 start, stop and shutdown, 0x2
	// backup and restore. Refused logons are recorded in any case.
	AuditFilter uint32 `json:"audit_filter"`

	// CircularLogging deletes closed log generations as soon as the database
	// holds them. It rules out incremental backups.
	CircularLogging bool `json:"circular_logging"`

	// KeepTruncated is how long truncated log generations are kept aside.
	KeepTruncated Duration `json:"keep_truncated"`

	// GenerationSize is the size in bytes at which a log generation is closed;
	// 0 is the default of package sqlitelog.
	GenerationSize int64 `json:"generation_size,omitempty"`

	// CRLURLs and IssuerURLs stand in the certificates issued: where their CRL
	// and the CA certificate can be fetched.
	CRLURLs    []string `json:"crl_urls,omitempty"`
	IssuerURLs []string `json:"issuer_urls,omitempty"`
}

// Duration is a time.Duration that JSON has as text ("168h0m0s").
type Duration time.Duration

// MarshalText writes the duration as [time.Duration.String] does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what [time.ParseDuration] reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

const (
	configLimit = 1 << 20

	defaultCertificateValidity = 365 * 24 * time.Hour
	defaultCRLValidity         = 7 * 24 * time.Hour
	defaultCRLOverlap          = 24 * time.Hour
	defaultKeepTruncated       = 7 * 24 * time.Hour
	defaultAuditFilter         = 0x3
)

// ReadConfig reads and checks the configuration of the authority in dir. If
// there is none the error is [ErrNoAuthority].
func ReadConfig(dir string) (Config, error) { return readConfig(durable.OS, dir) }

func readConfig(fsys durable.FS, dir string) (Config, error) {
	var c Config
	name := filepath.Join(dir, configName)
	b, err := durable.ReadFile(fsys, name, configLimit)
	if err != nil {
		if isNotExist(err) {
			return c, fmt.Errorf("%s: %w (%s is missing)", dir, ErrNoAuthority, configName)
		}
		return c, fmt.Errorf("configuration: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("configuration %s: %w", name, err)
	}
	if err := c.check(); err != nil {
		return c, fmt.Errorf("configuration %s: %w", name, err)
	}
	return c, nil
}

func writeConfig(fsys durable.FS, dir string, c Config) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return writeJSON(fsys, filepath.Join(dir, configName), c, fileMode)
}

func (c *Config) check() error {
	switch {
	case c.Schema != 1:
		return fmt.Errorf("schema %d is not known here (1 is)", c.Schema)
	case c.Name == "" || len(c.Name) > 256:
		return errors.New("name: 1 to 256 bytes are needed")
	case len(c.SanitizedName) > 200 || !isFileName(c.SanitizedName):
		return fmt.Errorf("sanitized_name %.40q cannot be a file name", c.SanitizedName)
	case !validHost(c.Host):
		return fmt.Errorf("host %.40q is no machine name", c.Host)
	case c.CertificateValidity <= 0, c.CRLValidity <= 0, c.CRLOverlap < 0, c.CRLOverlap >= c.CRLValidity:
		return errors.New("certificate_validity and crl_validity must be positive, and crl_overlap less than crl_validity")
	case c.KeepTruncated < 0:
		return errors.New("keep_truncated must not be negative")
	case c.GenerationSize < 0:
		return errors.New("generation_size must not be negative")
	}
	return checkDatabaseName(c.Database)
}

func isFileName(s string) bool {
	parts, err := splitRelative(s, "/")
	return err == nil && len(parts) == 1
}

// validHost accepts what may stand between the backslashes of a UNC name.
func validHost(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7F || strings.ContainsRune(`\/:*?"<>|$`, r)
	})
}

// checkDatabaseName accepts a relative name such as "database/Example CA.db":
// nothing that leaves the directory, nothing that is not a database's place.
func checkDatabaseName(name string) error {
	parts, err := splitRelative(name, "/")
	switch {
	case err != nil:
		return fmt.Errorf("database %.80q: %w", name, err)
	case len(parts) < 2:
		return fmt.Errorf("database %.80q: it must be in a directory of its own", name)
	case protected[strings.ToLower(parts[0])]:
		return fmt.Errorf("database %.80q: %s is no place for a database", name, parts[0])
	case !strings.HasSuffix(strings.ToLower(name), databaseExt) || len(parts[len(parts)-1]) == len(databaseExt):
		return fmt.Errorf("database %.80q: its name must end in %s", name, databaseExt)
	}
	return nil
}
