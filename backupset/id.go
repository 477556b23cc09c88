package backupset

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// idTime is the first part of an id: UTC, to the millisecond.
const idTime = "20060102T150405.000Z"

const idRandom = 10 // characters of five bits

// NewID makes an id for a set begun at t: its time, so that ids sort in the
// order of taking, and 50 random bits, as in
//
//	20260314T091500.123Z-k3j4m5n6p7
func NewID(t time.Time) string {
	return t.UTC().Format(idTime) + "-" + strings.ToLower(rand.Text()[:idRandom])
}

// ValidateID checks that an id has the form that NewID gives it, and is thereby
// also a harmless file name.
func ValidateID(id string) error {
	stamp, random, ok := strings.Cut(id, "-")
	if !ok || len(stamp) != len(idTime) || len(random) != idRandom {
		return fmt.Errorf("set id %.80q is not of the form %s", id, "20260314T091500.123Z-k3j4m5n6p7")
	}
	if t, err := time.Parse(idTime, stamp); err != nil || t.Format(idTime) != stamp {
		return fmt.Errorf("set id %.80q does not begin with a time", id)
	}
	for _, c := range []byte(random) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return fmt.Errorf("set id %.80q has characters that no id has", id)
		}
	}
	return nil
}
