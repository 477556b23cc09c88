package backupset

import (
	"fmt"
	"slices"
	"time"
)

// Validate checks everything about a manifest that can be checked without its
// files. A synthesized one never passes: it is not written.
func (m *Manifest) Validate() error {
	if m.Synthesized {
		return fmt.Errorf("made up for a folder that has none; it cannot be stored")
	}
	if m.Schema != Schema {
		return fmt.Errorf("schema %d, not %d", m.Schema, Schema)
	}
	if err := ValidateID(m.ID); err != nil {
		return err
	}
	switch m.Type {
	case Full:
		if m.Parent != "" {
			return fmt.Errorf("a full set with a parent")
		}
	case Incremental:
		if err := ValidateID(m.Parent); err != nil {
			return fmt.Errorf("parent: %w", err)
		}
		if m.Parent == m.ID {
			return fmt.Errorf("a set that is its own parent")
		}
	default:
		return fmt.Errorf("type %.20q is neither full nor incremental", m.Type)
	}
	if m.Engine != "sqlite" && m.Engine != "ese" {
		return fmt.Errorf("engine %.20q is neither sqlite nor ese", m.Engine)
	}
	if !isHex(m.Signature) || len(m.Signature) > 256 {
		return fmt.Errorf("database signature %.80q is not lower-case hexadecimal", m.Signature)
	}
	if m.CA.Name == "" {
		return fmt.Errorf("no CA name")
	}
	if c := m.CA.CertificateSHA256; c != "" && !isDigest(c) {
		return fmt.Errorf("CA certificate's sha256 %.80q is not one", c)
	}
	for _, s := range []string{m.Tool, m.CA.Name, m.CA.SanitizedName, m.CA.Host} {
		if len(s) > maxShort {
			return fmt.Errorf("text %.20q… is longer than %d bytes", s, maxShort)
		}
	}
	if err := errFirst(checkTime("start", m.Start), checkTime("end", m.End), m.validateFiles(), m.validateGenerations(),
		m.validateDynamic(), m.Completeness.validate(), validateCalls(m.Calls)); err != nil {
		return err
	}
	if len(m.LastLogHead) > maxLogHead {
		return fmt.Errorf("a log's head of %d bytes", len(m.LastLogHead))
	}
	if len(m.Locations) > 16 {
		return fmt.Errorf("%d locations", len(m.Locations))
	}
	for _, l := range m.Locations {
		if l.Path == "" || len(l.Path) > 3*maxPath {
			return fmt.Errorf("location %.80q", l.Path)
		}
	}
	return nil
}

func (m *Manifest) validateFiles() error {
	if len(m.Files) > maxFiles {
		return fmt.Errorf("%d files, more than %d", len(m.Files), maxFiles)
	}
	count := map[Role]int{}
	var total int64
	names := map[string]bool{}
	for _, f := range m.Files {
		if err := f.validate(); err != nil {
			return err
		}
		if key := f.Role.Dir() + "/" + FoldName(f.Name); names[key] {
			return fmt.Errorf("file %q is there twice", f.Name)
		} else {
			names[key] = true
		}
		if total += f.Size; total < 0 {
			return fmt.Errorf("sizes add up to more than 8 EiB")
		}
		count[f.Role]++
	}
	switch {
	case m.Type == Full && count[RoleDatabase] == 0:
		return fmt.Errorf("a full set without a database")
	case m.Type == Full && count[RoleLocations] != 1:
		return fmt.Errorf("a full set without its restore map %s", LocationsName)
	case m.Type == Incremental && count[RoleDatabase]+count[RoleLocations] > 0:
		return fmt.Errorf("an incremental set with a database or restore map")
	}
	return nil
}

func (f File) validate() error {
	if f.Role.Dir() == "" {
		return fmt.Errorf("file %.80q has the unknown role %.20q", f.Name, f.Role)
	}
	if err := ValidateName(f.Name); err != nil {
		return err
	}
	switch isMap := FoldName(f.Name) == LocationsName; {
	case f.Role == RoleLocations && f.Name != LocationsName:
		return fmt.Errorf("the restore map is called %q, not %s", f.Name, LocationsName)
	case isMap && (f.Role == RoleDatabase || f.Role == RoleLog):
		return fmt.Errorf("%s is called like the restore map", f.Role)
	case f.Size < 0:
		return fmt.Errorf("file %q: size %d", f.Name, f.Size)
	case !isDigest(f.SHA256):
		return fmt.Errorf("file %q: sha256 %.80q is not one", f.Name, f.SHA256)
	case len(f.Source) > 3*maxPath:
		return fmt.Errorf("file %q: source name of %d bytes", f.Name, len(f.Source))
	}
	return nil
}

// Dir is the directory in which a plain folder keeps files of a role; names
// are unique in it. Empty for an unknown role.
func (r Role) Dir() string {
	switch r {
	case RoleDatabase, RoleLog, RoleLocations:
		return "DataBase" // wszDBBACKUPSUBDIR
	case RoleDynamic:
		return "DynamicFiles"
	case RoleCompanion:
		return "Companions"
	}
	return ""
}

// validateGenerations checks that the logs are those, and all of those, that
// the manifest claims.
func (m *Manifest) validateGenerations() error {
	if m.FirstGeneration > m.LastGeneration {
		return fmt.Errorf("generations %d to %d", m.FirstGeneration, m.LastGeneration)
	}
	logs := m.ByRole(RoleLog)
	if len(logs) == 0 {
		if m.FirstGeneration != 0 || m.LastGeneration != 0 {
			return fmt.Errorf("generations %d to %d, but no log", m.FirstGeneration, m.LastGeneration)
		}
		return nil
	}
	gens := make([]uint32, 0, len(logs))
	for _, f := range logs {
		_, g, ok := LogGeneration(f.Name)
		if !ok {
			return fmt.Errorf("log %q does not have a generation in its name", f.Name)
		}
		gens = append(gens, g)
	}
	slices.Sort(gens)
	for i := 1; i < len(gens); i++ {
		if gens[i] == gens[i-1] {
			return fmt.Errorf("generation %d is there twice", gens[i])
		}
		if gens[i] != gens[i-1]+1 {
			return fmt.Errorf("generation %d is missing: the logs go from %d to %d", gens[i-1]+1, gens[i-1], gens[i])
		}
	}
	if first, last := gens[0], gens[len(gens)-1]; first != m.FirstGeneration || last != m.LastGeneration {
		return fmt.Errorf("generations %d to %d, but the logs are %d to %d", m.FirstGeneration, m.LastGeneration, first, last)
	}
	if e := m.EarliestTarget; e != 0 && (m.Type == Incremental || e > m.LastGeneration) {
		return fmt.Errorf("earliest target %d of a set that ends at %d", e, m.LastGeneration)
	}
	return nil
}

func (m *Manifest) validateDynamic() error {
	if len(m.DynamicFiles) > maxDynamic {
		return fmt.Errorf("%d dynamic files, more than %d", len(m.DynamicFiles), maxDynamic)
	}
	have := map[string]bool{}
	for _, f := range m.ByRole(RoleDynamic) {
		have[f.Name] = true
	}
	listed := map[string]bool{}
	for _, d := range m.DynamicFiles {
		switch {
		case (d.File == "") == (d.Error == ""):
			return fmt.Errorf("dynamic file %.200q is neither copied nor given up", d.Source)
		case d.File != "" && !have[d.File]:
			return fmt.Errorf("dynamic file %.200q: its copy %.200q is not in the set", d.Source, d.File)
		case len(d.Source) > 3*maxPath || len(d.Error) > maxText:
			return fmt.Errorf("dynamic file %.200q: text too long", d.Source)
		}
		listed[d.File] = true
	}
	for name := range have {
		if !listed[name] {
			return fmt.Errorf("dynamic file %q is not one that the server listed", name)
		}
	}
	return nil
}

func (c Completeness) validate() error {
	for _, p := range c.Parts() {
		switch p.Presence {
		case Present, Absent, NotAttempted, InHSM:
		default:
			return fmt.Errorf("completeness: %s is %.20q", p.Name, p.Presence)
		}
	}
	return nil
}

func validateCalls(calls []Call) error {
	if len(calls) > maxCalls {
		return fmt.Errorf("%d calls, more than %d", len(calls), maxCalls)
	}
	for _, c := range calls {
		if c.Function == "" || len(c.Function) > maxShort || len(c.Path) > 3*maxPath || c.Duration < 0 {
			return fmt.Errorf("call %.80q", c.Function)
		}
		if err := checkTime("start of "+c.Function, c.Start); err != nil {
			return err
		}
	}
	return nil
}

// Validate checks everything about a receipt that can be checked without its
// set.
func (r *Receipt) Validate() error {
	switch {
	case r.Schema != Schema:
		return fmt.Errorf("schema %d, not %d", r.Schema, Schema)
	case !isDigest(r.ManifestSHA256):
		return fmt.Errorf("manifest's sha256 %.80q is not one", r.ManifestSHA256)
	case r.Confirmed && r.End.Result != 0:
		return fmt.Errorf("confirmed, although End failed with %v", r.End.Result)
	case !r.Truncation.Requested && r.Truncation.Outcome != Outcome{}:
		return fmt.Errorf("outcome of a truncation that was not requested")
	case len(r.End.Error) > maxText || len(r.Truncation.Outcome.Error) > maxText:
		return fmt.Errorf("error text too long")
	case len(r.Truncation.Remarks) > maxRemarks:
		return fmt.Errorf("%d remarks, at most %d are taken", len(r.Truncation.Remarks), maxRemarks)
	}
	for _, s := range r.Truncation.Remarks {
		if len(s) > maxText {
			return fmt.Errorf("remark too long")
		}
	}
	return errFirst(ValidateID(r.SetID), checkTime("finished", r.Finished), validateCalls(r.Calls))
}

// maxRemarks bounds the remarks of a receipt.
const maxRemarks = 100

func checkTime(what string, t time.Time) error {
	if y := t.UTC().Year(); t.IsZero() || y < 1601 || y > 9999 {
		return fmt.Errorf("%s is %v", what, t)
	}
	return nil
}

func errFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
