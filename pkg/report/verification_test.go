package report

import (
	"encoding/json"
	"encoding/xml"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
)

// verification has a check of every outcome, and hostile text in what was found.
func verification() *Verification {
	at := start.Add(2 * time.Second)
	return &Verification{
		Project: "shop", Host: "deploy@gpu1:22", Release: 12, Version: "v2", Outcome: "failed", Started: start, Seconds: 42.26,
		Checks: &check.Report{Schema: check.Schema, Results: []check.Result{
			{Name: "containers", Kind: "containers", Place: "host", Required: true, Outcome: check.Pass, Expected: "every unit as released",
				Found: "15 units of 12 services", Attempts: 1, Seconds: 0.31},
			{Name: "api health", Kind: "http", Where: "shop-api-2", Place: "host", Required: true, Outcome: check.Fail,
				Expected: `database to be "connected"`, Found: "database is disconnected", Attempts: 31, Seconds: 40.02,
				Evidence: []check.Evidence{{At: at, Probe: "GET http://172.18.0.5:8000/health", Found: `200: {"status":"healthy","database":"disconnected"}`},
					{At: at.Add(time.Second), Probe: "GET http://172.18.0.5:8000/health", Found: "200: <script>alert(1)</script> \x1b[31m| `x`"}}},
			{Name: "certificate", Kind: "tls", Where: "shop.example.org:443", Place: "runner", Required: true, Outcome: check.Warn,
				Expected: "valid for at least 21d", Found: "12 days", Hint: "renew the certificate", Attempts: 1, Seconds: 0.08},
			{Name: "error rate", Kind: "prometheus", Where: "shop-prometheus-1", Place: "host", Required: true, Outcome: check.Unknown,
				Expected: "data for rate(errors_total[5m])", Found: "an answer without data", Attempts: 30, Seconds: 30,
				Evidence: []check.Evidence{{At: at, Probe: "GET /api/v1/query", Found: "200: {}"}}},
			{Name: "gpu", Kind: "gpu", Place: "unit", Outcome: check.Skip, Found: "left out by the input skip"},
		}},
	}
}

// What a verification says on a console, in a job summary, as JUnit and as JSON is
// looked at by people and read by programs: none of it changes unseen.
func TestVerification(t *testing.T) {
	t.Parallel()
	bad := verification()
	bad.Fail(fault.New(fault.Failed, "", "read its log", `verification failed: api health: shop-api-2: expected database to be "connected", found database is disconnected`))
	good := verification()
	good.Outcome, good.Checks.Results = "verified", good.Checks.Results[:1]
	dark := &Verification{Project: "shop", Started: start}
	dark.Fail(fault.New(fault.Refused, "host", "is it up?", "gpu1:22 does not answer"))
	for name, v := range map[string]*Verification{"failed": bad, "verified": good, "refused": dark} {
		golden(t, "verification-"+name+".txt", v.Text())
		golden(t, "verification-"+name+".md", v.Markdown())
		junit, err := v.JUnit()
		require.NoError(t, err)
		golden(t, "verification-"+name+".xml", string(junit))
		data, err := v.JSON()
		require.NoError(t, err)
		golden(t, "verification-"+name+".json", string(data)+"\n")
	}
}

// The JSON says which version of its schema it has, and JUnit counts what it holds.
func TestVerificationIsReadByPrograms(t *testing.T) {
	t.Parallel()
	data, err := verification().JSON()
	require.NoError(t, err)
	var told struct {
		Checks struct {
			Schema  int
			Results []check.Result
		}
	}
	require.NoError(t, json.Unmarshal(data, &told))
	assert.Equal(t, 1, told.Checks.Schema)
	assert.Equal(t, verification().Checks.Results, told.Checks.Results)

	data, err = verification().JUnit()
	require.NoError(t, err)
	var suites junitSuites
	require.NoError(t, xml.Unmarshal(data, &suites))
	s := suites.Suite
	assert.Equal(t, []int{5, 1, 1, 1}, []int{s.Tests, s.Failures, s.Errors, s.Skipped})
	assert.Equal(t, `expected database to be "connected", found database is disconnected`, s.Cases[1].Failure.Message)
	assert.Contains(t, s.Cases[1].Failure.Text, "at shop-api-2")
	assert.NotNil(t, s.Cases[3].Error)
	assert.Equal(t, "left out by the input skip", s.Cases[4].Skipped.Message)
}
