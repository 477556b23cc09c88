package cakey

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// MinPassword is the least number of characters of a PFX password. Whoever has
// the file guesses at leisure, and Windows derives the key with only 2,000 rounds of
// a fast hash: at a million guesses a second, about what one graphics card does,
// all words of eight small letters take three days, those of twelve 3,000 years.
const MinPassword = 12

// CheckPassword tells whether a password can protect a PFX, before anything is
// asked of a key. Its errors wrap [ErrPassword] and do not show the password.
func CheckPassword(password []byte) error {
	if !utf8.Valid(password) {
		return fmt.Errorf("%w: it is not UTF-8", ErrPassword)
	}
	n, same := 0, true
	first, _ := utf8.DecodeRune(password)
	for b := password; len(b) > 0; n++ {
		r, size := utf8.DecodeRune(b)
		switch {
		case unicode.IsControl(r):
			return fmt.Errorf("%w: it holds a control character", ErrPassword)
		case r > 0xFFFF:
			// A PFX stores it as a BMPString, and programs differ in what they make of more.
			return fmt.Errorf("%w: character %d is none of the first 65,536 of Unicode, which a PFX is limited to", ErrPassword, n+1)
		}
		same = same && r == first
		b = b[size:]
	}
	switch {
	case n < MinPassword:
		return hinted(fmt.Errorf("%w: it has %d characters, and a PFX needs %d", ErrPassword, n, MinPassword),
			"whoever gets hold of the file can try passwords at leisure; let a program make one, and keep it apart from the file")
	case same:
		return fmt.Errorf("%w: it is one character, repeated", ErrPassword)
	}
	return nil
}

// utf16z is a password as Windows takes it. The array is allocated once, so that
// clearing it leaves no copy behind.
func utf16z(password []byte) []uint16 {
	u := make([]uint16, 0, len(password)+1)
	for len(password) > 0 {
		r, size := utf8.DecodeRune(password)
		u = append(u, uint16(r)) // CheckPassword has ruled out what needs two
		password = password[size:]
	}
	return append(u, 0)
}
