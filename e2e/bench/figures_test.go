package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

func TestTable(t *testing.T) {
	t.Parallel()
	rows := []row{
		{Name: "nothing to change", Unit: "ms", Ours: []float64{412, 380, 2000}, Against: "docker compose up -d", Theirs: []float64{1630, 1500, 8100},
			Target: target{Of: "ratio", Limit: 0.5}},
		{Name: "  TCP connections to sshd", Ours: []float64{1, 1, 2}, Against: "docker compose up -d", Theirs: []float64{9, 9, 9},
			Target: target{Of: "value", Limit: 1, Exactly: true}},
		{Name: "  requests lost", Ours: []float64{0, 0, 0}, Against: "docker compose up -d --wait", Theirs: []float64{0, 812, 790},
			Target: target{Of: "value", Exactly: true}},
		{Name: "  memory", Unit: "MB", Ours: []float64{81.3}, Target: target{Of: "value", Limit: 120, Below: true}},
		{Name: "p99 during the rollout", Unit: "ms", Ours: []float64{9.04, 2.5}, Against: "before it", Theirs: []float64{4.5, 4.5},
			Target: target{Of: "ratio", Limit: 1}},
		{Name: "for information", Unit: "ms", Ours: []float64{5}},
		{Name: "never measured", Unit: "ms", Target: target{Of: "value", Limit: 5}},
	}
	got := table(judge(rows), 3)
	golden := filepath.Join("testdata", "table.txt")
	if *rewrite {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		row  row
		want string
	}{
		"a ratio at its limit":               {row{Unit: "ms", Ours: []float64{1}, Theirs: []float64{2}, Target: target{Of: "ratio", Limit: 0.5}}, met},
		"a ratio over its limit":             {row{Unit: "ms", Ours: []float64{1.01}, Theirs: []float64{2}, Target: target{Of: "ratio", Limit: 0.5}}, failed},
		"one slow pair of three":             {row{Unit: "ms", Ours: []float64{1, 9, 1}, Theirs: []float64{2, 2, 2}, Target: target{Of: "ratio", Limit: 0.5}}, met},
		"a slow machine slows both":          {row{Unit: "ms", Ours: []float64{1, 9, 90}, Theirs: []float64{2, 18, 180}, Target: target{Of: "ratio", Limit: 0.5}}, met},
		"a value at a limit that excludes":   {row{Ours: []float64{120}, Target: target{Of: "value", Limit: 120, Below: true}}, failed},
		"one value of three is over":         {row{Ours: []float64{1, 1, 2}, Target: target{Of: "value", Limit: 1, Exactly: true}}, failed},
		"a value has to be exact":            {row{Ours: []float64{0}, Target: target{Of: "value", Limit: 1, Exactly: true}}, failed},
		"nothing measured is not a success":  {row{Target: target{Of: "ratio", Limit: 1}}, failed},
		"nor a value of nothing":             {row{Target: target{Of: "value", Limit: 1}}, failed},
		"nor a ratio to nothing":             {row{Unit: "ms", Ours: []float64{1}, Target: target{Of: "ratio", Limit: 1}}, failed},
		"without a target there is no word":  {row{Ours: []float64{1}}, ""},
		"a peer without time divides by few": {row{Unit: "ms", Ours: []float64{1}, Theirs: []float64{0}, Target: target{Of: "ratio", Limit: 1}}, failed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			figures := judge([]row{test.row})
			assert.Equal(t, test.want, figures[0].Verdict)
			assert.Equal(t, test.want == failed, anyMissed(figures))
		})
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	assert.Zero(t, median(nil))
	assert.InDelta(t, 2, median([]float64{9, 1, 2}), 0)
	assert.InDelta(t, 2.5, median([]float64{3, 9, 1, 2}), 0)
}

func TestWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), ".demo", "bench.json")
	require.NoError(t, write(path, 2, judge([]row{{
		Name: "nothing to change", Unit: "ms", Ours: []float64{3, 1}, Against: "docker compose up -d", Theirs: []float64{2, 2},
		Target: target{Of: "ratio", Limit: 0.5},
	}})))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(data, &got))
	assert.Equal(t, true, got["missed"])
	assert.Equal(t, map[string]any{
		"name": "nothing to change", "unit": "ms", "ours": []any{3.0, 1.0}, "against": "docker compose up -d", "theirs": []any{2.0, 2.0},
		"target":      map[string]any{"of": "ratio", "limit": 0.5},
		"ours_median": 2.0, "ours_worst": 3.0, "theirs_median": 2.0, "ratio": 1.0, "verdict": failed,
	}, got["figures"].([]any)[0])
}

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := parse([]string{"-only", "scale,rollout", "-runs", "3"})
	require.NoError(t, err)
	assert.Equal(t, settings{runs: 3, only: []string{"scale", "rollout"}}, s)
	_, err = parse([]string{"-only", "speed"})
	require.ErrorContains(t, err, "unchanged, rollout, latency, scale, plan, image")
	_, err = parse([]string{"-runs", "0"})
	require.ErrorContains(t, err, "at least once")
}
