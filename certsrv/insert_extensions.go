package certsrv

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"github.com/certkeep/certkeep/cadb/schema"
)

// A certificate has some eight extensions, most of them the same in every
// certificate of its kind. So their rows are not given one by one: a statement
// joins the certificates, with what is their own, to the extensions that they
// share. That is a third less work than a tuple for each row.

// extensionSets collects the certificates of a group by the extensions they
// share.
type extensionSets struct {
	sets []*extensionSet
	keys map[string]*extensionSet
}

// extensionSet is certificates whose extensions have the same names and flags,
// and the same values but for those that are a certificate's own.
type extensionSet struct {
	shared []any // for each extension: name, flags, column of own or 0, value or NULL
	count  int   // of shared extensions
	own    []any // for each certificate: id and the own values
}

// ownNames are the extensions whose values are a certificate's own.
var ownNames = []string{"2.5.29.14", "2.5.29.17"} // subjectKeyIdentifier, subjectAltName

func (s *extensionSets) add(id int64, exts []extension) {
	if len(exts) == 0 {
		return
	}
	// The table is ordered by id and name, and rows that come in its order are
	// the cheapest.
	exts = slices.SortedStableFunc(slices.Values(exts), func(a, b extension) int { return cmp.Compare(a.name, b.name) })
	key := make([]byte, 0, 512)
	own := make([]any, 1+len(ownNames))
	own[0] = id
	for _, e := range exts {
		key = append(append(key, e.name...), 0)
		key = binary.BigEndian.AppendUint32(key, e.flags)
		if i := slices.Index(ownNames, e.name); i >= 0 {
			own[1+i] = e.value
			continue
		}
		key = append(binary.BigEndian.AppendUint32(key, uint32(len(e.value))), e.value...)
	}
	set, ok := s.keys[string(key)]
	if !ok {
		set = newExtensionSet(exts)
		if s.keys == nil {
			s.keys = make(map[string]*extensionSet)
		}
		s.keys[string(key)] = set
		s.sets = append(s.sets, set)
	}
	set.own = append(set.own, own...)
}

func newExtensionSet(exts []extension) *extensionSet {
	s := &extensionSet{count: len(exts)}
	for _, e := range exts {
		if i := slices.Index(ownNames, e.name); i >= 0 {
			s.shared = append(s.shared, e.name, e.flags, 1+i, nil)
		} else {
			s.shared = append(s.shared, e.name, e.flags, 0, e.value)
		}
	}
	return s
}

func (s *extensionSets) insert(ctx context.Context, tx *sql.Tx) error {
	const width = 3 // of own
	for _, set := range s.sets {
		for own := set.own; len(own) > 0; {
			n := 64
			for n > len(own)/width {
				n /= 2
			}
			args := append(own[:n*width:n*width], set.shared...)
			if _, err := tx.ExecContext(ctx, extensionsText(n, set.count), args...); err != nil {
				return err
			}
			own = own[n*width:]
		}
	}
	return nil
}

// extensionsText is the statement for so many certificates and extensions.
func extensionsText(certificates, extensions int) string {
	key := [2]int{certificates, extensions}
	if t, ok := extensionsTexts.Load(key); ok {
		return t.(string)
	}
	tuples := func(t string, n int) string { return strings.Repeat(t+",", n-1) + t }
	text := "INSERT INTO " + schema.CertificateExtensions + " (ExtensionRequestId, ExtensionName, ExtensionFlags, ExtensionRawValue)" +
		" SELECT c.column1, x.column1, x.column2, CASE x.column3 WHEN 1 THEN c.column2 WHEN 2 THEN c.column3 ELSE x.column4 END" +
		" FROM (VALUES " + tuples("(?,?,?)", certificates) + ") AS c CROSS JOIN (VALUES " + tuples("(?,?,?,?)", extensions) + ") AS x"
	extensionsTexts.Store(key, text)
	return text
}

var extensionsTexts sync.Map // of [2]int to string
