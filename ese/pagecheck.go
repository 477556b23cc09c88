package ese

import (
	"fmt"
	"math/bits"
)

// PageVerdict is what the checksum says of a page.
type PageVerdict uint8

// The verdicts.
const (
	// PageGood: the checksum is right.
	PageGood PageVerdict = iota

	// PageUnused: every byte is zero. The engine has never used the page; that is
	// legal wherever it occurs.
	PageUnused

	// PageCorrectable: one bit of a block is wrong, and the checksum says which.
	// The engine would correct it; nothing in the file was changed.
	PageCorrectable

	// PageMisplaced: the contents are whole, but those of another page.
	PageMisplaced

	// PageBad: something else was changed since the page was written.
	PageBad
)

func (v PageVerdict) String() string {
	switch v {
	case PageGood:
		return "good"
	case PageUnused:
		return "unused"
	case PageCorrectable:
		return "correctable"
	case PageMisplaced:
		return "misplaced"
	}
	return "bad"
}

// PageCheck is the result of checking one page.
type PageCheck struct {
	Page    uint32
	Offset  int64 // of the page in the file, in bytes
	Verdict PageVerdict

	// Block is the first block with a wrong checksum; always 0 in pages of up to
	// 8 KiB. Stored and Computed are that block's checksums.
	Block            int
	Stored, Computed uint64

	// Bits are the wrong bits of a correctable page, counted from its beginning:
	// at most one for each block.
	Bits []int

	// Claims is the page whose contents a misplaced page holds.
	Claims uint32

	// Unread is why a page could not be read; its verdict is PageBad.
	Unread error
}

// Err returns nil if the page can be used: it is good, or unused, or correctable.
func (c PageCheck) Err() error {
	switch c.Verdict {
	case PageGood, PageUnused, PageCorrectable:
		return nil
	case PageMisplaced:
		// In a page with one checksum the two cannot be told apart.
		or := ""
		if bits.OnesCount32(c.Claims^c.Page) == 1 {
			or = ", or one bit of its checksum is wrong"
		}
		return &PageError{c.Page, c.Offset, fmt.Errorf("%w: it holds the contents of page %d%s", ErrChecksum, c.Claims, or)}
	}
	if c.Unread != nil {
		return &PageError{c.Page, c.Offset, fmt.Errorf("read: %w", c.Unread)}
	}
	return &PageError{c.Page, c.Offset, fmt.Errorf("%w: %016x is stored, %016x computed", ErrChecksum, c.Stored, c.Computed)}
}

// pageFlags in the header of pages that the checks need.
const (
	flagNewChecksum    = 0x2000
	flagNewChecksumBit = 9*32 + 13 // counted from the beginning of the page
)

// validPageSize says whether the engine has pages of that many bytes.
func validPageSize(n int) bool { return n >= 2048 && n <= 32768 && n&(n-1) == 0 }

// CheckPage holds the page with that number against its checksum. The buffer is the
// whole page, of 2 to 32 KiB, and is not changed. A buffer of another size is bad.
func CheckPage(page []byte, number uint32) PageCheck {
	c := PageCheck{Page: number, Offset: (int64(number) + 1) * int64(len(page))}
	if !validPageSize(len(page)) {
		c.Verdict = PageBad
		return c
	}
	if le.Uint32(page[36:])&flagNewChecksum == 0 {
		c.checkOld(page)
		return c
	}
	n := blockSize(len(page))
	for block := range len(page) / n {
		stored := le.Uint64(page[checksumAt(block):])
		computed := blockChecksum(page[block*n:][:n], number, block == 0)
		if stored != computed {
			c.fail(page, n, block, stored, computed)
			return c
		}
	}
	return c
}

// wholePage says whether all checksums of a page of the new format are right, for who
// only wants to know that: nearly all pages are good.
func wholePage(page []byte, number uint32) bool {
	if le.Uint32(page[36:])&flagNewChecksum == 0 {
		return false
	}
	if len(page) <= 8192 {
		return le.Uint64(page) == blockChecksum(page, number, true)
	}
	n := len(page) / 4
	for block := range 4 {
		if le.Uint64(page[checksumAt(block):]) != blockChecksum(page[block*n:][:n], number, block == 0) {
			return false
		}
	}
	return true
}

// blockSize is how much of a page one checksum covers: all of it up to 8 KiB, a
// quarter of larger ones.
func blockSize(pageSize int) int {
	if pageSize > 8192 {
		return pageSize / 4
	}
	return pageSize
}

// checksumAt is where in a page the checksum of a block stands.
func checksumAt(block int) int {
	if block == 0 {
		return 0
	}
	return 40 + 8*(block-1)
}

// checkOld checks a page without the mark of the new checksum. The format from
// before Windows Vista has a plain sum and the page's number.
func (c *PageCheck) checkOld(page []byte) {
	c.Stored, c.Computed = le.Uint64(page), uint64(xorChecksum(page))|uint64(c.Page)<<32
	switch {
	case len(page) <= 8192 && c.Stored == c.Computed:
	case isZero(page):
		c.Verdict = PageUnused
	case len(page) <= 8192 && uint32(c.Stored) == uint32(c.Computed):
		c.Verdict, c.Claims = PageMisplaced, uint32(c.Stored>>32)
	default:
		c.Verdict = PageBad
	}
}

// fail finds out what is wrong with a page, of which block is the first whose
// checksum is not right. It may be slow.
func (c *PageCheck) fail(page []byte, n, block int, stored, computed uint64) {
	c.Block, c.Stored, c.Computed = block, stored, computed
	c.Verdict = PageBad
	if c.misplaced(page, n) {
		return
	}
	page = append([]byte(nil), page...)
	var wrong []int
	for ; block < len(page)/n; block++ {
		stored := le.Uint64(page[checksumAt(block):])
		computed := blockChecksum(page[block*n:][:n], c.Page, block == 0)
		if stored == computed {
			continue
		}
		bit, ok := locate(stored, computed, n)
		bit += block * n * 8
		// The engine does not correct the mark that says which checksum it is, and
		// the first block's own checksum counts as zero: no bit in it can be meant.
		if !ok || bit == flagNewChecksumBit || bit < 64 {
			return
		}
		// At once: the first block holds the checksums of the others.
		page[bit/8] ^= 1 << (bit % 8)
		wrong = append(wrong, bit)
	}
	c.Verdict, c.Bits = PageCorrectable, wrong
}

// misplaced says whether all checksums would be right under another page number.
func (c *PageCheck) misplaced(page []byte, n int) bool {
	claims := uint32(le.Uint64(page) ^ blockChecksum(page[:n], 0, true))
	if claims == c.Page {
		return false
	}
	for block := range len(page) / n {
		if le.Uint64(page[checksumAt(block):]) != blockChecksum(page[block*n:][:n], claims, block == 0) {
			return false
		}
	}
	c.Claims, c.Verdict = claims, PageMisplaced
	return true
}

// correct flips the wrong bits of a correctable page.
func (c PageCheck) correct(page []byte) {
	for _, bit := range c.Bits {
		page[bit/8] ^= 1 << (bit % 8)
	}
}

// Correct returns a copy of a correctable page with the wrong bits set right, and
// page itself if its verdict is another.
func (c PageCheck) Correct(page []byte) []byte {
	if c.Verdict != PageCorrectable {
		return page
	}
	page = append([]byte(nil), page...)
	c.correct(page)
	return page
}

func isZero(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if le.Uint64(b) != 0 {
			return false
		}
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
