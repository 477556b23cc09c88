package regfile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// header is the first line.
const header = "Windows Registry Editor Version 5.00"

// columns is the width at which long values are broken, in characters.
const columns = 80

// Encode writes a file. Keys and values keep their order. A key or value whose
// name has control characters is an error: no line can hold it.
func Encode(keys []Key) ([]byte, error) {
	var t strings.Builder
	t.WriteString(header + "\r\n\r\n")
	for _, k := range keys {
		if err := writeKey(&t, k); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	b.Grow(2 * t.Len())
	b.Write([]byte{0xff, 0xfe})
	b.Write(encode(t.String()))
	return b.Bytes(), nil
}

func writeKey(t *strings.Builder, k Key) error {
	if err := CheckPath(k.Path); err != nil {
		return err
	}
	if k.Delete {
		t.WriteString("[-" + k.Path + "]\r\n\r\n")
		return nil
	}
	t.WriteString("[" + k.Path + "]\r\n")
	for _, v := range k.Values {
		if err := CheckName(v.Name); err != nil {
			return fmt.Errorf("%s: %w", k.Path, err)
		}
		writeValue(t, v)
	}
	t.WriteString("\r\n")
	return nil
}

// maxPath and maxName are the registry's own limits, in characters; a path can
// have 512 levels of 255.
const (
	maxPath = 512 * 256
	maxName = 16383
)

// CheckPath tells whether a file can hold a key of this path.
func CheckPath(path string) error {
	if path == "" || strings.HasPrefix(path, "-") || len(path) > maxPath || hasControl(path) {
		return fmt.Errorf("key %.60q: a registry file cannot hold this path", path)
	}
	return nil
}

// CheckName tells whether a file can hold a value of this name.
func CheckName(name string) error {
	if len(encode(name)) > 2*maxName || hasControl(name) {
		return fmt.Errorf("value %.60q: a registry file cannot hold this name", name)
	}
	return nil
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

func writeValue(t *strings.Builder, v Value) {
	start := "@="
	if v.Name != "" {
		start = `"` + escape.Replace(v.Name) + `"=`
	}
	t.WriteString(start)
	switch {
	case v.Delete:
		t.WriteString("-\r\n")
		return
	case v.Type == DWord && len(v.Data) == 4:
		fmt.Fprintf(t, "dword:%08x\r\n", binary.LittleEndian.Uint32(v.Data))
		return
	case v.Type == String:
		if s, ok := plain(v.Data); ok {
			t.WriteString(`"` + escape.Replace(s) + "\"\r\n")
			return
		}
	}
	kind := "hex:"
	if v.Type != Binary {
		kind = fmt.Sprintf("hex(%x):", uint32(v.Type))
	}
	t.WriteString(kind)
	writeHex(t, len(encode(start+kind))/2, v.Data)
}

// writeHex writes bytes from a column on. A line has room for the backslash that
// continues it.
func writeHex(t *strings.Builder, column int, data []byte) {
	const digits = "0123456789abcdef"
	for i, c := range data {
		if column+len("00,")+len(`\`) > columns && i > 0 {
			t.WriteString("\\\r\n  ")
			column = len("  ")
		}
		t.WriteByte(digits[c>>4])
		t.WriteByte(digits[c&15])
		column += 2
		if i < len(data)-1 {
			t.WriteByte(',')
			column++
		}
	}
	t.WriteString("\r\n")
}
