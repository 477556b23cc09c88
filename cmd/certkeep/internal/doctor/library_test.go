package doctor

import (
	"context"
	"errors"
	"testing"

	"github.com/certkeep/certkeep/certadm"
	"github.com/certkeep/certkeep/connect"
)

// Without the library nothing else can be looked at, and all of it is said.
func TestLibraryMissing(t *testing.T) {
	var heard []Check
	rep, err := Library(t.Context(), LibraryOptions{Server: "local:", Local: true, Observe: func(c Check) { heard = append(heard, c) },
		Open: func(context.Context) (*connect.Connection, error) {
			return nil, &certadm.Error{Op: "LoadLibrary", Code: certadm.ErrorModNotFound, Hint: "install it"}
		}})
	if err != nil {
		t.Fatal(err)
	}
	if rep.OK || rep.Failed() != checkLibrary || !errors.Is(rep.Err, certadm.ErrorModNotFound) || len(rep.Checks) != 6 || len(heard) != 6 {
		t.Errorf("%+v", rep)
	}
	if rep.Checks[0].Mend != "install it" {
		t.Errorf("mend %q", rep.Checks[0].Mend)
	}
	for _, c := range rep.Checks[1:] {
		if c.State != NotChecked {
			t.Errorf("%+v", c)
		}
	}
}

// asking examines a service without a library.
func asking(t *testing.T, svc certadm.Service, o LibraryOptions) *Report {
	t.Helper()
	x := &library{o: o, examination: newExamination("dll://ca01", nil, checkLibrary, checkService, checkPrivilege, checkAuthority, checkCertificate, checkKey)}
	x.ask(t.Context(), svc, nil)
	return x.finish("not reached")
}

type answering struct {
	certadm.Service // nil: nothing else may be asked
	online          bool
	err             error
}

func (a answering) IsServerOnline(context.Context) (bool, error) { return a.online, a.err }

func TestLibrary(t *testing.T) {
	undone := 0
	held := func(...string) (func() error, error) { return func() error { undone++; return nil }, nil }
	lacking := func(...string) (func() error, error) { return nil, certadm.ErrorNotAllAssigned }
	for _, tt := range []struct {
		name   string
		svc    answering
		priv   func(...string) (func() error, error)
		local  bool
		failed string
	}{
		{"stopped", answering{err: certadm.ErrorServiceNotActive}, held, true, checkService},
		{"suspended", answering{}, held, true, checkService},
		{"no privilege", answering{online: true}, lacking, true, checkPrivilege},
		{"another machine's", answering{online: true}, lacking, false, ""},
		{"this machine's", answering{online: true}, held, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			undone = 0
			rep := asking(t, tt.svc, LibraryOptions{Local: tt.local, Privileges: tt.priv})
			if rep.Failed() != tt.failed || rep.OK != (tt.failed == "") {
				t.Errorf("%+v", rep)
			}
			if tt.name == "this machine's" && undone != 1 {
				t.Errorf("the privilege was put back %d times", undone)
			}
		})
	}
}
