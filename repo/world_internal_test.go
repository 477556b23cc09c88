package repo

import (
	"testing"

	"filippo.io/age"

	"github.com/certkeep/certkeep/repo/blob/mem"
)

// newInMemory is a new repository, open as its host.
func newInMemory(t *testing.T) (*Repository, *mem.Store) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b := mem.New()
	host, err := Init(t.Context(), Options{Blob: b}, InitOptions{Recipients: []Recipient{NewRecipient(id.Recipient().String(), "", id.Recipient())}, Host: "backup1"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), Options{Blob: b, Host: host})
	if err != nil {
		t.Fatal(err)
	}
	return r, b
}
