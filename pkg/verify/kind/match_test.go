package kind

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/check"
)

// Every operator, on values for which it holds and on values for which it does not.
func TestMatch_Operators(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for text, c := range map[string]struct{ holds, not []string }{
		"abc":                   {[]string{"abc", " abc\n"}, []string{"", "abcd", "ab", "ABC"}},
		"3":                     {[]string{"3", "3.0", " 3e0"}, []string{"4", "three", ""}},
		"three":                 {[]string{"three"}, []string{"3", "NaN"}},
		"{equals: 2}":           {[]string{"2", "2.00"}, []string{"20"}},
		"{not: a}":              {[]string{"b", ""}, []string{"a", " a "}},
		"{not: 1}":              {[]string{"2"}, []string{"1.0"}},
		"{matches: '^a+$'}":     {[]string{"a", "aaa"}, []string{"", "ab"}},
		"{not_matches: '^a+$'}": {[]string{"", "ab"}, []string{"a"}},
		"{contains: b}":         {[]string{"abc", "b"}, []string{"", "ac"}},
		"{empty: true}":         {[]string{"", " \n"}, []string{"0", "x"}},
		"{empty: false}":        {[]string{"0", "x"}, []string{"", " \n"}},
		"{lt: 3}":               {[]string{"2.9", "-1", " 2 "}, []string{"3", "4", "", "x", "NaN"}},
		"{le: 3}":               {[]string{"3", "2"}, []string{"3.1", "", "x", "NaN"}},
		"{gt: 3}":               {[]string{"3.1", "1e9"}, []string{"3", "2", "", "x", "NaN"}},
		"{ge: 3}":               {[]string{"3", "4"}, []string{"2.9", "", "x", "NaN"}},
		"{ge: 2, lt: 4}":        {[]string{"2", "3.9"}, []string{"1", "4"}},
		"{exists: true}":        {[]string{"", "x"}, nil},
		"{exists: false}":       {nil, []string{"", "x"}},
		"{age_below: 30000d}":   {[]string{fmt.Sprint(now.Unix())}, []string{"0", "-1"}},
		"{age_below: 10s}": {[]string{fmt.Sprint(now.Unix()), now.Add(-5 * time.Second).Format(time.RFC3339Nano), now.Add(5 * time.Second).Format(time.RFC3339), fmt.Sprintf("%.3f\n", float64(now.UnixMilli())/1000)},
			[]string{"", "0", "-1", "x", fmt.Sprint(now.Unix() - 60), fmt.Sprint(now.Unix() + 60), now.Add(-time.Minute).Format(time.RFC3339)}},
	} {
		m := matching(t, text)
		for _, value := range c.holds {
			assert.Equal(t, check.Pass, m(value, true), "%s of %q", text, value)
		}
		for _, value := range c.not {
			assert.Equal(t, check.Fail, m(value, true), "%s of %q", text, value)
		}
		absent := check.Fail
		if text == "{exists: false}" {
			absent = check.Pass
		}
		assert.Equal(t, absent, m("", false), "%s of what is not there", text)
	}
}

// matching gives what a match says of a value.
func matching(t *testing.T, text string) func(value string, exists bool) check.Outcome {
	t.Helper()
	m := parsed(t, text)
	return func(value string, exists bool) check.Outcome {
		s := local(nil).Begin(t.Context(), "it")
		m.check(s, "it", value, exists)
		return s.Finding.Outcome
	}
}

func parsed(t *testing.T, text string) (m Match) {
	t.Helper()
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
	require.NoError(t, m.UnmarshalNode(doc.Content[0]))
	return m
}

// What a condition wants is told in words.
func TestMatch_Words(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"abc": `"abc"`, "{not: a}": `not "a"`, "{matches: a}": `a match of "a"`, "{not_matches: a}": `no match of "a"`, "{contains: a}": `a text with "a"`, "{lt: 3}": `less than "3"`,
		"{le: 3}": `at most "3"`, "{gt: 3}": `more than "3"`, "{ge: 3}": `at least "3"`, "{exists: true}": "there", "{exists: false}": "absent", "{empty: true}": "empty",
		"{empty: false}": "something", "{age_below: 2d}": "a time less than 2d away",
	} {
		assert.Equal(t, want, parsed(t, text).conditions[0].String())
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"30s": 30 * time.Second, "26h": 26 * time.Hour, "21d": 21 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0s": 0, "": 0} {
		d, err := ParseDuration(text)
		require.NoError(t, err)
		assert.Equal(t, want, time.Duration(d))
	}
	for d, want := range map[time.Duration]string{48 * time.Hour: "2d", 26 * time.Hour: "26h", 24 * time.Hour: "24h", time.Minute: "1m", 90 * time.Second: "1m30s", 49 * time.Hour: "49h"} {
		assert.Equal(t, want, Duration(d).String())
	}
	assert.Equal(t, time.Second, Duration(0).or(time.Second))
	assert.Equal(t, time.Minute, Duration(time.Minute).or(time.Second))
	assert.True(t, Statuses{"401", "2xx"}.has(204))
	assert.True(t, Statuses{"401", "2xx"}.has(401))
	assert.False(t, Statuses{"401", "2xx"}.has(400))
	assert.False(t, Statuses{"2xx"}.has(302))
	assert.Equal(t, "401 or 2xx", Statuses{"401", "2xx"}.String())
	assert.Len(t, cut("é"+fmt.Sprintf("%0400d", 0)), maxText+len(" ..."))
	assert.Equal(t, "a b", cut(" a \n b "))
	assert.Equal(t, "nothing", quoted(" \n"))
}
