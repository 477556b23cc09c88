package account

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// Cost is the work of one argon2id hash (RFC 9106).
type Cost struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultCost is OWASP's recommendation: 19 MiB, 2 passes, 1 thread.
var DefaultCost = Cost{Memory: 19 << 10, Time: 2, Threads: 1}

// Bounds on what a file of accounts may have us compute.
const (
	maxMemory  = 256 << 10 // KiB
	maxTime    = 16
	maxThreads = 16

	saltSize = 16
	hashSize = 32
)

func (c Cost) check() error {
	if c.Threads < 1 || c.Threads > maxThreads || c.Time < 1 || c.Time > maxTime ||
		c.Memory < 8*uint32(c.Threads) || c.Memory > maxMemory {
		return fmt.Errorf("argon2id cost m=%d,t=%d,p=%d is not acceptable: at most m=%d,t=%d,p=%d", c.Memory, c.Time, c.Threads, maxMemory, maxTime, maxThreads)
	}
	return nil
}

// phc is a password hash in the form of the password hashing competition:
// $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH, base64 without padding.
type phc struct {
	cost Cost
	salt []byte
	hash []byte
}

func newHash(password []byte, c Cost) (phc, error) {
	p := phc{cost: c, salt: make([]byte, saltSize)}
	if _, err := rand.Read(p.salt); err != nil {
		return phc{}, fmt.Errorf("salt: %w", err)
	}
	p.hash = p.compute(password, hashSize)
	return p, nil
}

func (p phc) compute(password []byte, size int) []byte {
	return argon2.IDKey(password, p.salt, p.cost.Time, p.cost.Memory, p.cost.Threads, uint32(size))
}

// matches takes the same time for each password.
func (p phc) matches(password []byte) bool {
	return subtle.ConstantTimeCompare(p.compute(password, len(p.hash)), p.hash) == 1
}

func (p phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.cost.Memory, p.cost.Time, p.cost.Threads, b64(p.salt), b64(p.hash))
}

// parsePHC reads what String wrote, and nothing else.
func parsePHC(s string) (phc, error) {
	if len(s) > 512 {
		return phc{}, errors.New("password hash is too long")
	}
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, errors.New("password hash is not of the form $argon2id$v=19$…")
	}
	cost, err := parseCost(f[3])
	if err != nil {
		return phc{}, err
	}
	p := phc{cost: cost}
	dec := base64.RawStdEncoding.Strict()
	if p.salt, err = dec.DecodeString(f[4]); err != nil || len(p.salt) < 8 || len(p.salt) > 64 {
		return phc{}, errors.New("password hash: the salt must have 8 to 64 bytes in base64")
	}
	if p.hash, err = dec.DecodeString(f[5]); err != nil || len(p.hash) < 16 || len(p.hash) > 64 {
		return phc{}, errors.New("password hash: the hash must have 16 to 64 bytes in base64")
	}
	if p.String() != s { // line breaks, leading zeros
		return phc{}, errors.New("password hash is not in canonical form")
	}
	return p, nil
}

func parseCost(s string) (Cost, error) {
	bad := errors.New("password hash: the cost is not of the form m=19456,t=2,p=1")
	f := strings.Split(s, ",")
	if len(f) != 3 {
		return Cost{}, bad
	}
	var n [3]uint64
	for i, prefix := range []string{"m=", "t=", "p="} {
		v, ok := strings.CutPrefix(f[i], prefix)
		if !ok {
			return Cost{}, bad
		}
		var err error
		if n[i], err = strconv.ParseUint(v, 10, 32); err != nil {
			return Cost{}, bad
		}
	}
	if n[2] > maxThreads {
		n[2] = maxThreads + 1 // does not fit otherwise
	}
	c := Cost{Memory: uint32(n[0]), Time: uint32(n[1]), Threads: uint8(n[2])}
	return c, c.check()
}
