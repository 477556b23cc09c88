package adcs

import "strings"

// known is an environment variable of which the value comes from elsewhere.
type known struct {
	name  string
	value func() (string, error)
}

// expandKnown replaces the known variables of a text, whatever their letter case, and
// leaves all else.
func expandKnown(s string, vars []known) (string, error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '%')
		n := -1
		if i >= 0 {
			n = strings.IndexByte(s[i+1:], '%')
		}
		if n < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		name, rest := s[i+1:i+1+n], s[i+1+n:] // the second % may begin another name
		b.WriteString(s[:i])
		value, found, err := lookUp(name, vars)
		switch {
		case err != nil:
			return "", err
		case found:
			b.WriteString(value)
			s = rest[1:]
		default:
			b.WriteString("%" + name)
			s = rest
		}
	}
}

func lookUp(name string, vars []known) (string, bool, error) {
	for _, v := range vars {
		if strings.EqualFold(v.name, name) {
			value, err := v.value()
			return value, true, err
		}
	}
	return "", false, nil
}
