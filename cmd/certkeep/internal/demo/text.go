package demo

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/certkeep/certkeep/cmd/certkeep/internal/figures"
)

func count(n int) string                    { return figures.Count(n) }
func plural(n int, one, many string) string { return figures.Plural(n, one, many) }
func size(n int64) string                   { return figures.Size(n) }

// acknowledged reads the clients' records back: what the restored authority is
// measured by.
func (s *story) acknowledged() (map[string]Entry, error) {
	all := map[string]Entry{}
	for _, c := range s.clients {
		entries, err := ReadRecord(s.path(recordsDir, c.Name+".jsonl"))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, twice := all[e.Serial]; twice {
				return nil, fmt.Errorf("serial number %s was issued twice", e.Serial)
			}
			all[e.Serial] = e
		}
	}
	if len(all) == 0 {
		return nil, errors.New("the clients have no record")
	}
	return all, nil
}

// sorted lists entries in the order of their acknowledgement.
func sorted(m map[string]Entry) []Entry {
	list := slices.AppendSeq([]Entry{}, maps.Values(m))
	slices.SortFunc(list, func(a, b Entry) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Serial, b.Serial))
	})
	return list
}

func readCertificate(name string) (*x509.Certificate, error) {
	der, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
