package release

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sealed(t require.TestingT) []byte {
	r, err := Record{Schema: Schema, Number: 3, Project: "shop", Follows: 2, PrevSum: "ab", Outcome: Verified, Version: "v1",
		Started: time.Unix(1, 0), Services: map[string]ServiceRecord{"api": {Image: "api:v1", Replicas: 3}}}.normal()
	require.NoError(t, err)
	data, err := r.seal()
	require.NoError(t, err)
	return data
}

// FuzzRecord: whatever lies in the ledger's folder, a record that is trusted is
// written again byte for byte.
func FuzzRecord(f *testing.F) {
	f.Add(sealed(f))
	f.Add([]byte(`{"schema": 3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := readRecord(data, 3, "shop")
		if err != nil {
			assert.Zero(t, r)
			return
		}
		again, err := r.seal()
		require.NoError(t, err)
		assert.Equal(t, string(data), string(again))
	})
}

// FuzzEdit: no edit of a record goes unseen: another byte, one less, one more.
func FuzzEdit(f *testing.F) {
	whole := sealed(f)
	f.Add(uint16(10), byte('x'), uint8(0))
	f.Add(uint16(len(whole)-1), byte(' '), uint8(1))
	f.Add(uint16(0), byte('\n'), uint8(2))
	f.Fuzz(func(t *testing.T, at uint16, b byte, how uint8) {
		data, i := append([]byte(nil), whole...), int(at)%len(whole)
		switch how % 3 {
		case 0:
			data[i] = b
		case 1:
			data = append(data[:i], data[i+1:]...)
		case 2:
			data = append(data[:i], append([]byte{b}, data[i:]...)...)
		}
		_, err := readRecord(data, 3, "shop")
		assert.Equal(t, string(data) == string(whole), err == nil, "byte %d", i)
	})
}

// FuzzPrune: in whatever order releases are pruned, those and no others are known
// as pruned afterwards, and the list stays sorted.
func FuzzPrune(f *testing.F) {
	f.Add([]byte{1, 2, 3, 7, 5, 6})
	f.Add([]byte{9, 1, 8, 2})
	f.Fuzz(func(t *testing.T, order []byte) {
		var c chain
		gone := map[int]bool{}
		for _, b := range order {
			n := int(b) + 1
			if gone[n] {
				continue
			}
			gone[n] = true
			c.prune(Record{Number: n, Follows: n - 1})
		}
		for n := 0; n <= 258; n++ {
			_, pruned := c.pruned(n)
			assert.Equal(t, gone[n], pruned, "release %d", n)
		}
		for i := 1; i < len(c.Pruned); i++ {
			assert.Greater(t, c.Pruned[i].From, c.Pruned[i-1].To)
		}
	})
}
