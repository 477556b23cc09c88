package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/certkeep/certkeep/certadm"
)

func TestWith(t *testing.T) {
	err := fmt.Errorf("open: %w", With(fs.ErrNotExist, "make it"))
	if err.Error() != "open: file does not exist" || !errors.Is(err, fs.ErrNotExist) || Of(err) != "make it" {
		t.Errorf("%v, hint %q", err, Of(err))
	}
}

func TestOf(t *testing.T) {
	coded := &certadm.Error{Op: "x", Code: certadm.EAccessDenied, Hint: "run elevated"}
	silent := &certadm.Error{Op: "x", Code: certadm.EAccessDenied, Err: With(fs.ErrPermission, "inner")}
	for _, tt := range []struct {
		err  error
		want string
	}{{nil, ""}, {fs.ErrExist, ""}, {fmt.Errorf("a: %w", coded), "run elevated"}, {silent, "inner"}, {errors.Join(fs.ErrExist, With(coded, "outer")), "run elevated"}} {
		if got := Of(tt.err); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.err, got, tt.want)
		}
	}
}
