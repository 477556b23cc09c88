package adcs

import (
	"context"

	"github.com/certkeep/certkeep/backup"
)

var _ backup.Renewed = (*Host)(nil)

// Certificates implements [backup.Renewed]: all certificates of the authority that
// the machine's stores still have, the oldest first. After a renewal with a new key
// there are several, and what an older one has signed is the authority's, too.
func (h *Host) Certificates(context.Context) ([][]byte, error) {
	hashes, err := h.hashes()
	if err != nil {
		return nil, err
	}
	found, err := h.find(hashes)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for _, x := range hashes {
		if c := found[x]; c != nil {
			list = append(list, c)
		}
	}
	return list, nil
}
