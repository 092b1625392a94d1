package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// encode is the one way records are written. Reading compares with it byte by
// byte, so that no edit goes unseen, not even one that means the same.
func encode(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

func sumOf(v any) (string, error) {
	data, err := encode(v)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

// startSum is over what is fixed from the moment the record was appended.
func (r Record) startSum() (string, error) {
	r.StartSum, r.Outcome, r.Message, r.Steps, r.Probe, r.Checks, r.Backups, r.Migrations, r.Sum = "", "", "", nil, nil, nil, nil, nil, ""
	r.Ended = Record{}.Ended
	return sumOf(r)
}

// wholeSum is over the record as it is now; the next record carries it on.
func (r Record) wholeSum() (string, error) {
	r.Sum = ""
	return sumOf(r)
}

// normal gives the record as reading it back will: times without a monotonic
// part, raw JSON in our form, no bytes that JSON cannot carry.
func (r Record) normal() (Record, error) {
	r.Started, r.Ended = r.Started.UTC(), r.Ended.UTC()
	data, err := encode(r)
	if err != nil {
		return Record{}, err
	}
	var again Record
	err = json.Unmarshal(data, &again)
	return again, err
}

// seal fills both sums in and gives the bytes to write. The record is normal.
func (r *Record) seal() ([]byte, error) {
	var err error
	if r.StartSum, err = r.startSum(); err != nil {
		return nil, err
	}
	if r.Sum, err = r.wholeSum(); err != nil {
		return nil, err
	}
	return encode(r)
}

// errFuture marks state that a newer program wrote.
var errFuture = errors.New("written by a newer version of shiksha")

// decode reads strictly: the schema first, then every byte must be what encode
// gives.
func decode(data []byte, into any) error {
	var head struct{ Schema int }
	if err := json.Unmarshal(data, &head); err != nil {
		return fmt.Errorf("cut off or not JSON: %w", err)
	}
	if head.Schema > Schema {
		return fmt.Errorf("%w (schema %d, this one knows %d)", errFuture, head.Schema, Schema)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("not as it was written: %w", err)
	}
	again, err := encode(into)
	if err != nil || !bytes.Equal(again, data) {
		return errors.New("not as it was written: changed by hand or by the disk")
	}
	return nil
}

// readRecord gives the record in data, or what is wrong with it.
func readRecord(data []byte, number int, project string) (Record, error) {
	var r Record
	if err := decode(data, &r); err != nil {
		return Record{}, err
	}
	start, err := r.startSum()
	if err != nil {
		return Record{}, err
	}
	whole, err := r.wholeSum()
	switch {
	case err != nil:
		return Record{}, err
	case start != r.StartSum || whole != r.Sum:
		return Record{}, errors.New("its checksum does not fit: changed by hand or by the disk")
	case r.Number != number || r.Project != project:
		return Record{}, fmt.Errorf("it is release %d of project %s under another name", r.Number, r.Project)
	case r.Follows >= r.Number:
		return Record{}, fmt.Errorf("it claims to follow release %d", r.Follows)
	case !r.Outcome.known():
		return Record{}, fmt.Errorf("unknown outcome %q", r.Outcome)
	}
	return r, nil
}

// span is a run of pruned records. It keeps the two ends of their chain, so that
// what stayed on either side can still be checked.
type span struct {
	From    int    `json:"from"`
	To      int    `json:"to"`
	Follows int    `json:"follows,omitempty"`
	PrevSum string `json:"prev_sum,omitempty"`
	Sum     string `json:"sum"`
}

// chain is chain.json: the highest number ever given and the numbers that were
// pruned, without which a lost record could not be told from a pruned one.
type chain struct {
	Schema int    `json:"schema"`
	Head   int    `json:"head"`
	Pruned []span `json:"pruned,omitempty"`
	Sum    string `json:"sum"`
}

func (c chain) bytes() ([]byte, error) {
	var err error
	c.Sum = ""
	if c.Sum, err = sumOf(c); err != nil {
		return nil, err
	}
	return encode(c)
}

func readChain(data []byte) (chain, error) {
	var c chain
	if err := decode(data, &c); err != nil {
		return chain{}, err
	}
	want := c.Sum
	c.Sum = ""
	if got, err := sumOf(c); err != nil || got != want {
		return chain{}, errors.New("its checksum does not fit: changed by hand or by the disk")
	}
	return c, nil
}

func (c chain) pruned(number int) (span, bool) {
	for _, s := range c.Pruned {
		if s.From <= number && number <= s.To {
			return s, true
		}
	}
	return span{}, false
}

// prune adds a record to the pruned ones and joins neighbours, which keeps the
// list no longer than the records that stay.
func (c *chain) prune(r Record) {
	next := span{From: r.Number, To: r.Number, Follows: r.Follows, PrevSum: r.PrevSum, Sum: r.Sum}
	var spans []span
	placed := false
	for _, s := range c.Pruned {
		if !placed && s.From > next.From {
			spans, placed = append(spans, next), true
		}
		spans = append(spans, s)
	}
	if !placed {
		spans = append(spans, next)
	}
	joined := spans[:1]
	for _, s := range spans[1:] {
		last := &joined[len(joined)-1]
		if s.From == last.To+1 && s.Follows == last.To {
			last.To, last.Sum = s.To, s.Sum
			continue
		}
		joined = append(joined, s)
	}
	c.Pruned = joined
}
