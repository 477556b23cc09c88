package repo

import (
	"errors"

	"filippo.io/age"
)

// asked is an identity that another program answers for, such as a plugin of age. That the program fails says nothing of
// the object, and must not be taken for damage to it; and other identities and slots may yet open the repository.
type asked struct {
	age.Identity
	failed error // the first failure
}

// Unwrap implements age.Identity.
func (a *asked) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := a.Identity.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		if a.failed == nil {
			a.failed = err
		}
		return nil, age.ErrIncorrectIdentity
	}
	return key, err
}

// askedOf wraps those of ids that are not age's own.
func askedOf(ids []age.Identity) (all []age.Identity, others []*asked) {
	for _, id := range ids {
		switch id.(type) {
		case *age.X25519Identity, *age.HybridIdentity, *age.ScryptIdentity:
		default:
			a := &asked{Identity: id}
			others, id = append(others, a), a
		}
		all = append(all, id)
	}
	return all, others
}
