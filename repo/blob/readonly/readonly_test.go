package readonly_test

import (
	"errors"
	"testing"

	"github.com/certkeep/certkeep/repo/blob"
	"github.com/certkeep/certkeep/repo/blob/mem"
	"github.com/certkeep/certkeep/repo/blob/readonly"
)

func TestReadOnly(t *testing.T) {
	ctx := t.Context()
	m := mem.New()
	if _, err := m.Put(ctx, "a/b", []byte("text"), blob.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	s := readonly.New(m)
	if _, err := s.Put(ctx, "a/c", nil, blob.PutOptions{}); !errors.Is(err, blob.ErrReadOnly) {
		t.Errorf("put: %v", err)
	}
	if err := s.Delete(ctx, "a/b"); !errors.Is(err, blob.ErrReadOnly) {
		t.Errorf("delete: %v", err)
	}
	if b, err := s.Get(ctx, "a/b", 0, -1); string(b) != "text" || err != nil {
		t.Errorf("get: %q, %v", b, err)
	}
	if i, err := s.Stat(ctx, "a/b"); i.Size != 4 || err != nil {
		t.Errorf("stat: %v, %v", i, err)
	}
	var keys []string
	for i, err := range s.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, i.Key)
	}
	if len(keys) != 1 || keys[0] != "a/b" || s.Location() != m.Location() {
		t.Errorf("keys %q, location %s", keys, s.Location())
	}
}
