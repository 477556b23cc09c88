package regfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 64 << 20

// ErrFormat is wrapped by errors for what is not a registry file of version 5.
var ErrFormat = errors.New("not a registry file")

// Decode reads a file. It takes what [Encode], regedit and reg write, comments
// included, also when somebody has saved it as UTF-8. Halves of surrogate pairs,
// which regedit writes as they are, are read as U+FFFD.
func Decode(b []byte) ([]Key, error) {
	text, err := textOf(b)
	if err != nil {
		return nil, err
	}
	d := decoder{rest: text}
	first, _ := d.line()
	if strings.TrimSpace(first) != header {
		return nil, fmt.Errorf("%w: the first line is %.40q, and should be %q", ErrFormat, first, header)
	}
	for {
		line, ok := d.line()
		if !ok {
			return d.keys, nil
		}
		if err := d.take(line); err != nil {
			return nil, fmt.Errorf("line %d: %w: %w", d.number, ErrFormat, err)
		}
	}
}

func textOf(b []byte) (string, error) {
	if len(b) > MaxSize {
		return "", fmt.Errorf("%w: larger than %d bytes", ErrFormat, MaxSize)
	}
	if u, ok := bytes.CutPrefix(b, []byte{0xff, 0xfe}); ok {
		if len(u)%2 != 0 {
			return "", fmt.Errorf("%w: half a character at its end", ErrFormat)
		}
		return string(utf16.Decode(units(u))), nil
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if !utf8.Valid(b) {
		return "", fmt.Errorf("%w: neither UTF-16 with a byte order mark nor UTF-8", ErrFormat)
	}
	return string(b), nil
}

type decoder struct {
	rest   string
	number int    // of the line last read, from 1
	end    string // what ended that line
	keys   []Key
}

// line returns the next line without its end.
func (d *decoder) line() (string, bool) {
	if d.rest == "" {
		return "", false
	}
	line, rest, ended := strings.Cut(d.rest, "\n")
	d.rest, d.end = rest, ""
	d.number++
	if ended {
		d.end = "\n"
	}
	line, returned := strings.CutSuffix(line, "\r")
	if returned {
		d.end = "\r" + d.end
	}
	return line, true
}

// take reads a key, a value or nothing.
func (d *decoder) take(line string) error {
	line = strings.TrimLeft(line, " \t")
	switch {
	case line == "" || line[0] == ';':
		return nil
	case line[0] == '[':
		// A key's name can have a bracket in it.
		end := strings.LastIndexByte(line, ']')
		if end < 0 {
			return errors.New("a key without its closing bracket")
		}
		k := Key{Path: line[1:end]}
		k.Path, k.Delete = strings.CutPrefix(k.Path, "-")
		if err := CheckPath(k.Path); err != nil {
			return err
		}
		d.keys = append(d.keys, k)
		return nil
	case len(d.keys) == 0:
		return errors.New("a value before the first key")
	}
	v, data, err := d.name(line)
	if err != nil {
		return err
	}
	if err := CheckName(v.Name); err != nil {
		return err
	}
	if err := d.data(&v, data); err != nil {
		return fmt.Errorf("value %.60q: %w", v.Name, err)
	}
	k := &d.keys[len(d.keys)-1]
	if k.Delete {
		return errors.New("a value of a key that is to be deleted")
	}
	k.Values = append(k.Values, v)
	return nil
}

// name splits a line at the equals sign after a value's name.
func (d *decoder) name(line string) (v Value, data string, err error) {
	rest := line
	if line[0] == '@' {
		rest = line[1:]
	} else if v.Name, rest, err = d.unquote(line); err != nil {
		return v, "", err
	}
	data, ok := strings.CutPrefix(strings.TrimLeft(rest, " \t"), "=")
	if !ok {
		return v, "", errors.New("no equals sign after a name")
	}
	return v, strings.TrimLeft(data, " \t"), nil
}

// unquote reads a quoted string and returns what follows it. regedit writes line
// breaks in a string as they are, so that it goes on in the next line.
func (d *decoder) unquote(s string) (text, rest string, err error) {
	if s == "" || s[0] != '"' {
		return "", "", errors.New("no quote before a name")
	}
	var b strings.Builder
	for i := 1; ; i++ {
		for i >= len(s) {
			b.WriteString(d.end)
			var ok bool
			if s, ok = d.line(); !ok {
				return "", "", errors.New("no quote after a string")
			}
			i = 0
		}
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
}

func (d *decoder) data(v *Value, s string) error {
	switch {
	case s == "-":
		v.Delete = true
	case strings.HasPrefix(s, `"`):
		text, rest, err := d.unquote(s)
		if err != nil {
			return err
		}
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != ';' {
			return errors.New("something follows the closing quote")
		}
		*v = NewString(v.Name, String, text)
	case strings.HasPrefix(s, "dword:"):
		text, _, _ := strings.Cut(s[len("dword:"):], ";")
		n, err := strconv.ParseUint(strings.TrimSpace(text), 16, 32)
		if err != nil {
			return errors.New("not a hexadecimal number of 32 bits")
		}
		v.Type, v.Data = DWord, binary.LittleEndian.AppendUint32(nil, uint32(n))
	case strings.HasPrefix(s, "hex:"):
		v.Type = Binary
		return d.hex(v, s[len("hex:"):])
	case strings.HasPrefix(s, "hex("):
		kind, data, ok := strings.Cut(s[len("hex("):], "):")
		n, err := strconv.ParseUint(kind, 16, 32)
		if !ok || err != nil {
			return errors.New("not a type in hexadecimal")
		}
		v.Type = Type(n)
		return d.hex(v, data)
	default:
		return errors.New("neither a string, nor dword, nor hex")
	}
	return nil
}

// hex reads bytes, also from the lines that follow.
func (d *decoder) hex(v *Value, line string) error {
	v.Data = []byte{}
	for {
		line, _, _ = strings.Cut(line, ";")
		list, more := strings.CutSuffix(strings.TrimRight(line, " \t"), `\`)
		for part := range strings.SplitSeq(list, ",") {
			part = strings.Trim(part, " \t")
			if part == "" {
				continue // after a last comma, or no bytes at all
			}
			n, err := strconv.ParseUint(part, 16, 8)
			if err != nil {
				return fmt.Errorf("%.10q is no byte in hexadecimal", part)
			}
			v.Data = append(v.Data, byte(n))
		}
		if !more {
			return nil
		}
		var ok bool
		if line, ok = d.line(); !ok {
			return errors.New("the file ends in the middle of a value")
		}
	}
}
