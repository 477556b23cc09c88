package main

import (
	"fmt"
	"strings"
	"time"

	"filippo.io/age"
)

// newIdentity is a restore identity being made.
type newIdentity struct{ secret, public string }

func makeIdentity(postQuantum bool) (*newIdentity, age.Recipient, error) {
	if postQuantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, nil, err
		}
		return &newIdentity{id.String(), id.Recipient().String()}, id.Recipient(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, nil, err
	}
	return &newIdentity{id.String(), id.Recipient().String()}, id.Recipient(), nil
}

// name is what the file is called: by the first characters of the public key, which
// recipient list shows as well. The repository has no id yet.
func (id *newIdentity) name() string {
	short := id.public[strings.LastIndexByte(id.public, '1')+1:]
	return "certkeep-restore-" + short[:12] + ".key"
}

// file is the identity as age-keygen writes it.
func (id *newIdentity) file(address string) []byte {
	return fmt.Appendf(nil, `# Restore identity of the certkeep repository %s
# Whoever has this file can read every backup in that repository; without it none can be
# restored. Keep two copies offline, and none on a machine that takes backups.
# created: %s
# public key: %s
%s
`, oneLine(address), time.Now().UTC().Format(time.RFC3339), id.public, id.secret)
}
