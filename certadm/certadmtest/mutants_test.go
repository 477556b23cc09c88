package certadmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mutants are the ways in which the fake can be broken, each with the parts of
// the suite that have to notice it. Names are as in the fake's source.
var mutants = []struct {
	bug   string
	items []string
}{
	// online check and control
	{"stopped is no error", []string{"item11/stopped service, old connection", "item11/stopped service, new connection"}},
	{"dies at a restart", []string{"item11/started again"}},
	{"never online", []string{"item12/running"}},
	{"suspended is online", []string{"item12/suspended"}},
	{"shutdown does nothing", []string{"item13/shutdown"}},
	{"suspend suspends", []string{"item13/suspend and restart do nothing"}},
	{"any control is fine", []string{"item13/other values"}},
	{"anyone shuts down", []string{"item13/a reader cannot shut down"}},
	{"control gives output", []string{"item14/no output"}},
	{"no DNS names", []string{"item15/NetBIOS and DNS name"}},
	{"no config strings", []string{"item15/config string for the control call"}},

	// every failure is an *Error with its particulars
	{"bare codes", []string{"item13/other values", "item22/no full backup yet", "item34/one file at a time"}},
	{"failures do not name the function", []string{"item13/other values", "item22/no full backup yet"}},

	// what Prepare lets pass
	{"readers back up", []string{"item16/without the privilege", "item53/readers, enrollees and officers"}},
	{"session left after a refusal", []string{"item16/without the privilege"}},
	{"incrementals list databases", []string{"item17/the type shows in the lists", "item26/in an incremental session"}},
	{"the type is in grbit alone", []string{"item17/fields of the call"}},
	{"a client id is sent", []string{"item17/fields of the call"}},
	{"unknown type is full", []string{"item18/unknown types"}},
	{"unknown types are sent", []string{"item18/refused by the client itself"}},
	{"flags are not looked at", []string{"item19/where the server finds the type"}},
	{"the authority's case counts", []string{"item19/authority's name"}},
	{"any authority", []string{"item19/authority's name"}},
	{"sessions are not counted", []string{"item20/second Prepare of the same client", "item20/with a file open", "item21/second client is refused"}},
	{"second Prepare is accepted", []string{"item20/second Prepare of the same client"}},
	{"second Prepare ends the first session", []string{"item20/second Prepare of the same client", "item20/with a file open"}},
	{"second Prepare closes the file", []string{"item20/with a file open"}},
	{"second Prepare: wrong code", []string{"item20/second Prepare of the same client"}},
	{"another client's Prepare: wrong code", []string{"item21/second client is refused"}},
	{"another Prepare ends the first session", []string{"item21/second client is refused"}},
	{"sessions are never released", []string{"item21/and served afterwards", "item27/after the session", "item49/file after End"}},
	{"incremental before full", []string{"item22/no full backup yet", "item25/no session after a failed Prepare"}},
	{"incremental before full: wrong code", []string{"item22/no full backup yet"}},
	{"circular logging is ignored", []string{"item23/circular logging"}},
	{"prepares while recovering", []string{"item24/while recovering"}},
	{"prepares while stopping", []string{"item24/while stopping"}},
	{"prepares when stopped", []string{"item24/stopped"}},
	{"a session with an error", []string{"item25/no session after a failed Prepare", "item22/no full backup yet", "item18/unknown types"}},
	{"End after a failed Prepare", []string{"item25/no further call"}},

	// sequence
	{"names out of sequence: wrong code", []string{"item26/in an incremental session", "item26/without a session"}},
	{"ended sessions work", []string{"item49/session after End"}},
	{"truncates without a session", []string{"item27/without a session"}},
	{"lists need a full session", []string{"item28/in a session of either type"}},
	{"lists need a session", []string{"item28/without a session"}},

	// names
	{"logs are tagged as patch files", []string{"item29/tags of databases and logs"}},
	{"extra location", []string{"item30/one entry of each kind"}},
	{"two log directories", []string{"item30/one entry of each kind", "item04/the service's own list"}},
	{"local names", []string{"item31/UNC names of the server"}},
	{"another host", []string{"item31/UNC names of the server"}},
	{"a tag is taken off", []string{"item32/name without its tag"}},
	{"opens anything", []string{"item33/names outside the lists"}},
	{"incrementals open databases", []string{"item33/a database in an incremental session"}},

	// files
	{"two files at once", []string{"item34/one file at a time"}},
	{"closed files work", []string{"item34/read and close without a file"}},
	{"closing twice is fine", []string{"item34/read and close without a file"}},
	{"sizes of 32 bits", []string{"item35/more than 4 GiB"}},
	{"hints are checked", []string{"item36/any hint"}},
	{"the last hint counts", []string{"item36/sizes of the wire's reads"}},
	{"short reads", []string{"item37/reads fill the buffer"}},
	{"loses the rest of its buffer", []string{"item38/buffers of any size", "item37/reads fill the buffer"}},
	{"odd wire reads", []string{"item38/the wire's reads"}},
	{"takes any read size", []string{"item38/the wire's reads"}},
	{"answers with what was read", []string{"item38/the wire's reads"}},
	{"sizes are wrong", []string{"item39/as many bytes as the size"}},
	{"truncates early", []string{"item39/the bytes of the file", "item51/issuing goes on"}},
	{"each file once", []string{"item40/any order, and again"}},

	// lost clients and truncation
	{"Close keeps the session", []string{"item41/client closes"}},
	{"Break keeps the session", []string{"item41/connection breaks"}},
	{"a lost client's logs are truncated", []string{"item41/client closes", "item41/connection breaks"}},
	{"cancelling is ignored", []string{"item41/read is cancelled"}},
	{"truncates anything", []string{"item42/nothing was listed", "item42/nothing was read", "item42/the database was not read", "item42/the logs were not listed",
		"item42/the database was not listed", "item42/one log was not read", "item42/a file was not read to its end", "item42/a log of an incremental session was not read"}},
	{"refuses, but truncates", []string{"item42/nothing was read"}},
	{"databases need not be listed", []string{"item42/the database was not listed"}},
	{"databases need not be read", []string{"item42/the database was not read"}},
	{"logs need not be listed", []string{"item42/the logs were not listed", "item48/an aborted one does not"}},
	{"logs need not be read", []string{"item42/one log was not read", "item42/a log of an incremental session was not read"}},
	{"to be opened is enough", []string{"item42/a file was not read to its end"}},
	{"truncates with a file open", []string{"item43/with a file open"}},
	{"truncates too much", []string{"item44/nothing that is needed goes"}},
	{"truncation takes the database", []string{"item44/only logs that were backed up go"}},
	{"truncation takes another file", []string{"item44/only logs that were backed up go"}},
	{"truncates nothing", []string{"item44/only logs that were backed up go", "item44/fewer logs are listed afterwards", "item46/incremental with it"}},
	{"loses a certificate", []string{"item51/issuing goes on"}},
	{"databases open after truncation", []string{"item45/no database after it"}},
	{"truncates at the end", []string{"item46/differential without it"}},

	// the end of a session
	{"End takes an open file", []string{"item47/with a file open", "item47/with a file open, all else being read"}},
	{"End keeps a session with an open file", []string{"item47/with a file open"}},
	{"End wants everything read", []string{"item47/without reading anything"}},
	{"nothing counts", []string{"item48/a whole backup counts", "item48/times"}},
	{"everything counts", []string{"item48/an aborted one does not"}},
	{"an open file counts", []string{"item48/an aborted one does not"}},
	{"a lost client's backup counts", []string{"item48/an aborted one does not"}},
	{"incrementals count as full", []string{"item48/times"}},
	{"no times of backups", []string{"item48/times"}},
	{"after End: wrong code", []string{"item49/session after End"}},
	{"panics after End", []string{"item49/session after End", "item49/file after End"}},
	{"closed clients work", []string{"item49/client after Close"}},
	{"ended restores work", []string{"item49/restore session after End"}},
	{"lists only once", []string{"item50/free"}},
	{"logs not closed", []string{"item51/issuing goes on"}},
	{"the newest log is left out", []string{"item51/issuing goes on"}},
	{"serial numbers start again", []string{"item51/issuing goes on"}},

	// access and audit
	{"flags are ignored", []string{"item52/remote backups refused", "item52/local backups refused"}},
	{"flags with another code", []string{"item52/remote backups refused", "item52/local backups refused"}},
	{"a flag refuses everybody", []string{"item52/remote backups refused", "item52/local backups refused"}},
	{"the snapshot flag refuses", []string{"item52/snapshots only"}},
	{"readers list", []string{"item53/readers, enrollees and officers"}},
	{"operators need Read", []string{"item53/backup operator"}},
	{"audits never", []string{"item54/backup", "item54/shutdown", "item54/restore"}},
	{"audits always", []string{"item54/backup", "item54/shutdown", "item54/restore"}},
	{"audit without types", []string{"item54/backup"}},
	{"audit without names", []string{"item54/backup", "item54/shutdown"}},
	{"privileges are hoped for", []string{"item55/privilege not assigned"}},

	// registering a restore
	{"restores while running", []string{"item56/while the service runs"}},
	{"restore while running: wrong code", []string{"item56/while the service runs"}},
	{"anyone restores", []string{"item57/without the privilege"}},
	{"any restore type", []string{"item57/other types"}},
	{"anyone registers", []string{"item58/Register by someone who is no local administrator"}},
	{"through a file needs an administrator", []string{"item58/RegisterThroughFile by someone who is no local administrator"}},
	{"nobody registers", []string{"item58/Register by a local administrator"}},
	{"any map", []string{"item59/number of map entries"}},
	{"any range", []string{"item60/range of generations"}},
	{"gaps are not seen", []string{"item61/a log in the middle is missing", "item61/the first log is missing", "item61/the last log is missing"}},
	{"incremental restore first", []string{"item62/incremental before full"}},
	{"starts between", []string{"item63/between Register and RegisterComplete", "item63/never completed"}},
	{"registers twice", []string{"item63/between Register and RegisterComplete"}},
	{"End completes", []string{"item63/never completed"}},
	{"failures are not taken back", []string{"item64/completed as failed"}},
	{"failures stay", []string{"item64/completed as failed", "item64/registered again after a failure"}},
	{"completes nothing", []string{"item64/without Register"}},

	// recovery
	{"incrementals in order only", []string{"item65/order of the incremental sets"}},
	{"the new path is ignored", []string{"item66/recovered to another path"}},
	{"recovery invents", []string{"item67/directories not cleared", "item67/directories cleared"}},
	{"recovery loses", []string{"item67/directories not cleared", "item67/directories cleared", "item58/Register by a local administrator"}},
	{"recovers at every start", []string{"item68/recovery once"}},
	{"online during recovery", []string{"item68/nothing is served before"}},
	{"serves during recovery", []string{"item68/nothing is served before"}},
	{"no time of recovery", []string{"item68/time of recovery"}},
	{"damage is not seen", []string{"item69/a log is damaged"}},
	{"failure without a code", []string{"item69/a log is damaged"}},
	{"a failed recovery deletes logs", []string{"item69/a log is damaged"}},
	{"a restore keeps the full backup", []string{"item70/incremental after a restore"}},
	{"signatures are not compared", []string{"item71/incremental of another authority", "item71/incremental from before a restore"}},
	{"signatures: wrong code", []string{"item71/incremental of another authority", "item71/incremental from before a restore"}},
	{"the signature stays", []string{"item71/incremental from before a restore"}},
}

// parts returns every part of the suite by its name.
func parts() map[string]part {
	all := make(map[string]part)
	for _, it := range items() {
		for _, pt := range it.parts {
			all[fmt.Sprintf("item%02d/%s", it.number, pt.name)] = pt
		}
	}
	return all
}

// Every mutant fails the parts that are about it.
func TestMutants(t *testing.T) {
	all := parts()
	for _, m := range mutants {
		for _, name := range m.items {
			t.Run(m.bug+"/"+name, func(t *testing.T) {
				pt, ok := all[name]
				if !ok {
					t.Fatal("no such part")
				}
				r := runPart(t, func(t *testing.T) Env { return newFake(t, m.bug) }, &abilities{}, pt)
				if r.unsupported != "" && strings.HasPrefix(name, "item35/") {
					t.Skip(r.unsupported)
				}
				if len(r.failures) == 0 {
					t.Error("the suite does not notice")
				}
				for _, s := range r.failures {
					t.Log(s)
					if strings.HasPrefix(s, "panic:") != (m.bug == "panics after End") {
						t.Error("the fake fails in another way than it is meant to")
					}
				}
			})
		}
	}
}

// Every part that asks a Service has a mutant, every mutant is in the fake, and
// every bug of the fake is in the table.
func TestMutantsAreComplete(t *testing.T) {
	noticed := make(map[string]bool)
	var bugs []string
	for _, m := range mutants {
		bugs = append(bugs, m.bug)
		for _, name := range m.items {
			noticed[name] = true
		}
	}
	for name, pt := range parts() {
		if noticed[name] || strings.HasPrefix(name, "item35/") {
			continue
		}
		asked := false
		runPart(t, func(t *testing.T) Env { asked = true; return newFake(t) }, &abilities{}, pt)
		if asked {
			t.Errorf("%s has no mutant", name)
		}
	}
	var source []string
	files, err := filepath.Glob("fake*_test.go")
	if err != nil || len(files) < 5 {
		t.Fatalf("the fake's source: %v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.is\("([^"]+)"\)`).FindAllStringSubmatch(string(data), -1) {
			source = append(source, m[1])
		}
	}
	source = append(source, "Close keeps the session", "Break keeps the session") // put together
	for _, b := range source {
		if !slices.Contains(bugs, b) {
			t.Errorf("the fake's bug %q is not in the table", b)
		}
	}
	for _, b := range bugs {
		if !slices.Contains(source, b) {
			t.Errorf("%q is not in the fake", b)
		}
	}
}
