package cadb

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/certkeep/certkeep/cadb/schema"
)

// Report is what [Check] found out.
type Report struct {
	// Requests counts the rows of Requests, Dispositions those of each kind.
	Requests     int64                      `json:"requests"`
	Dispositions map[schema.Disposition]int `json:"dispositions"`

	// Certificates counts the certificates that were parsed, Signatures those
	// whose signature by Issuer was verified, RequestSignatures the PKCS #10
	// requests whose own signature was.
	Certificates      int64 `json:"certificates"`
	Unparsed          int64 `json:"unparsed,omitempty"` // see Check
	Signatures        int64 `json:"signatures"`
	RequestSignatures int64 `json:"request_signatures"`
	Extensions        int64 `json:"extensions"`

	// CRLs counts the rows of CRLs; NewestCRL is the highest number of a CRL
	// among them, and CRLThisUpdate the date of that one.
	CRLs          int64     `json:"crls"`
	NewestCRL     int64     `json:"newest_crl"`
	CRLThisUpdate time.Time `json:"crl_this_update"`
	CRLNextUpdate time.Time `json:"crl_next_update"`

	// HighestID is the highest request id.
	HighestID int64 `json:"highest_id"`

	// Issuer is the name of the CA certificate that signatures were checked by.
	Issuer string `json:"issuer"`

	// EarlierCA counts the certificates that are signed by an earlier certificate of the
	// same authority, which the database alone names.
	EarlierCA int64 `json:"earlier_ca,omitempty"`

	Findings []Finding `json:"findings"`
}

// Damaged reports whether the check failed.
func (r *Report) Damaged() bool { return HasDamage(r.Findings) }

// ErrNoCACertificate is the answer to a database whose CA certificate nobody
// gave and which has none itself.
var ErrNoCACertificate = errors.New("no CA certificate to check signatures by: the database holds none, and none was given")

// Check holds a database against what is signed in it.
//
// Every certificate of an issued or revoked request must parse, be signed by ca,
// and agree with its row in serial number, dates, hash, subject, key, key
// identifier and extensions; a PKCS #10 request must be signed by the key that
// was certified; no serial number may stand twice; no certificate, extension or
// attribute may lack its request; a revoked row has its date and reason. Every
// CRL must be signed by ca and agree with its row; the newest base CRL and the
// revoked rows must agree on what was revoked when it was made.
//
// ca is the certificate of the authority; older holds those it had before a
// renewal, if there are any. With ca nil the newest CA certificate in the
// database itself is used, which proves less: whoever could change the database
// could change that too.
//
// Of an ESE database that was not recovered, rows can be missing, old or there twice.
// What that explains, because it stands in different rows, is a note: a request
// without its certificate, an extension without its request, a revocation that the CRL
// does not have. What stands in one row must agree there, too.
//
// A certificate that AD CS issued, whose hash is that of its row, and that cannot be
// parsed here (others are less strict) is a warning, and counted as Unparsed.
//
// All cores are used, and memory in proportion to the longest CRL, plus eight
// bytes a certificate. A failure to read the database is returned as an error,
// along with the report on what was read until then; what is wrong in the
// database is a finding.
func Check(ctx context.Context, db *DB, ca *x509.Certificate, older ...*x509.Certificate) (Report, error) {
	c := &checker{db: db, file: db.Name(), older: older, ca: ca, seed: maphash.MakeSeed()}
	c.rules = rowRules{strict: db.info.Engine == EngineSQLite, fuzzy: db.info.Unrecovered}
	c.report.Dispositions = make(map[schema.Disposition]int)
	err := c.run(ctx)
	c.report.Findings = c.found.All()
	return c.report, err
}

type checker struct {
	db     *DB
	rules  rowRules
	file   string
	ca     *x509.Certificate
	older  []*x509.Certificate
	report Report
	found  Findings

	crls  map[uint32]*newestCRL // by the number of the CA key
	seed  maphash.Seed
	seen  []uint64 // hashes of serial numbers
	hasCA bool     // the database has CA certificates
	ownCA bool     // and ca, or an older one, is one of them
	named int      // how many of them have ca's name
	newCA bool     // and one of those is not from before ca

	earlier    []*x509.Certificate // those that the database alone names
	incomplete []*IncompleteError
	oddHashes  int64 // hashes in a form that is not known
}

func (c *checker) add(f Finding) {
	f.File = c.file
	c.found.Add(f)
}

func (c *checker) run(ctx context.Context) error {
	if c.ca == nil {
		ca, err := c.db.CACertificate(ctx)
		if err != nil {
			return err
		}
		c.ca = ca
		c.add(Finding{Severity: Note, Code: CodeUnchecked, Message: "signatures are checked by the CA certificate in the database itself"})
	}
	if !c.rules.strict {
		if err := c.earlierCertificates(ctx); err != nil {
			return err
		}
	}
	definitions, err := c.db.r.checkDefinitions(ctx)
	if err != nil {
		return err
	}
	for _, f := range definitions {
		c.add(f)
	}
	if name, err := schema.NameText(c.ca.RawSubject); err == nil {
		c.report.Issuer = name
	}
	if err := c.checkCRLs(ctx); err != nil {
		return err
	}
	if err := c.checkRequests(ctx); err != nil {
		return err
	}
	if err := c.duplicates(ctx); err != nil {
		return err
	}
	c.revokedElsewhere()
	for o, err := range c.db.r.orphans(ctx) {
		if err != nil {
			return err
		}
		c.add(c.explained(Finding{Severity: Damage, Code: CodeMissing, Where: fmt.Sprintf("%s of request %d", o.table, o.id), Message: "there is no such request"}))
	}
	c.remarks()
	c.authority()
	return nil
}

// job is a request on its way through a worker.
type job struct {
	row Request
	ext []Extension
	res rowResult
}

// A batch keeps the cost of handing work over far below that of the work.
const batchSize = 32

// checkRequests reads rows in one goroutine, checks them in as many as there
// are cores, and gathers the results here. Batches come back in any order, and
// findings are sorted by row in the end.
func (c *checker) checkRequests(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	in, out := make(chan []job, workers), make(chan []job, workers)
	var readErr error
	go func() {
		defer close(in)
		readErr = c.read(ctx, in)
	}()
	rules := c.rules
	rules.issuers, rules.earlier = append([]*x509.Certificate{c.ca}, c.older...), c.earlier
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for batch := range in {
				for i := range batch {
					if ctx.Err() != nil {
						break
					}
					j := &batch[i]
					j.res = checkRow(&j.row, j.ext, &rules)
					// Results are small; let go of what is not.
					j.row.RawRequest, j.ext = nil, nil
				}
				out <- batch
			}
		})
	}
	go func() { wg.Wait(); close(out) }()
	var rowFindings []rowFinding
	more := Findings{}
	for batch := range out {
		if ctx.Err() != nil {
			continue
		}
		for i := range batch {
			c.tally(&batch[i])
			for _, f := range batch[i].res.findings {
				if len(rowFindings) < maxFindings {
					rowFindings = append(rowFindings, rowFinding{batch[i].row.ID, f})
					continue
				}
				more.More++
				if f.Severity == Damage {
					more.MoreDamage++
				}
			}
		}
	}
	slices.SortStableFunc(rowFindings, func(a, b rowFinding) int { return int(min(max(a.id-b.id, -1), 1)) })
	for _, f := range rowFindings {
		f.Where = "request " + strconv.FormatInt(f.id, 10) + f.Where
		c.add(f.Finding)
	}
	c.found.More += more.More
	c.found.MoreDamage += more.MoreDamage
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return readErr
}

type rowFinding struct {
	id int64
	Finding
}

// read sends every request with its extensions. The two tables are read side by
// side, both in the order of the request's id.
func (c *checker) read(ctx context.Context, in chan<- []job) error {
	next, stop := iter.Pull2(c.db.Extensions(ctx, AllExtensions))
	defer stop()
	ext, err, ok := next()
	batch := make([]job, 0, batchSize)
	flush := func() error {
		select {
		case in <- batch:
			batch = make([]job, 0, batchSize)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for row, rerr := range c.db.Requests(ctx, Filter{}) {
		if c.damaged(rerr) {
			continue
		}
		if rerr != nil {
			return errors.Join(flush(), rerr)
		}
		j := job{row: row}
		for ok && err == nil && ext.RequestID <= row.ID {
			if ext.RequestID == row.ID && len(j.ext) < 1000 {
				j.ext = append(j.ext, ext)
			}
			c.report.Extensions++
			ext, err, ok = next()
		}
		if c.damaged(err) {
			ok, err = false, nil
		}
		if err != nil {
			return errors.Join(flush(), err)
		}
		if batch = append(batch, j); len(batch) == batchSize {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	// What is left belongs to requests that are not there, see orphans.
	for ; ok; ext, err, ok = next() {
		if err != nil && !c.damaged(err) {
			return errors.Join(flush(), err)
		}
		if err == nil {
			c.report.Extensions++
		}
	}
	return flush()
}

// tally counts a checked row and notes what needs all rows together.
func (c *checker) tally(j *job) {
	r := &j.row
	c.report.Requests++
	c.report.Dispositions[r.Disposition]++
	c.report.HighestID = max(c.report.HighestID, r.ID)
	if j.res.parsed {
		c.report.Certificates++
	}
	if j.res.signed {
		c.report.Signatures++
	}
	if j.res.unparsed {
		c.report.Unparsed++
	}
	if j.res.byEarlier {
		c.report.EarlierCA++
	}
	c.oddHashes += int64(j.res.oddHashes)
	if j.res.requestSigned {
		c.report.RequestSignatures++
	}
	if c.ownSerial(r) {
		c.seen = append(c.seen, maphash.String(c.seed, r.Serial))
	}
	if r.Disposition == schema.CACert && r.RawCertificate != nil {
		c.caRow(r)
	}
	c.checkRevocation(j)
}
