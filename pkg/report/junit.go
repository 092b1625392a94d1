package report

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/shiksha/actions/pkg/check"
)

type junitSuites struct {
	XMLName xml.Name   `xml:"testsuites"`
	Suite   junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name      string      `xml:"name,attr"`
	Tests     int         `xml:"tests,attr"`
	Failures  int         `xml:"failures,attr"`
	Errors    int         `xml:"errors,attr"`
	Skipped   int         `xml:"skipped,attr"`
	Time      string      `xml:"time,attr"`
	Timestamp string      `xml:"timestamp,attr,omitempty"`
	Host      string      `xml:"hostname,attr,omitempty"`
	Cases     []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	ClassName string        `xml:"classname,attr"`
	Time      string        `xml:"time,attr"`
	Failure   *junitProblem `xml:"failure"`
	Error     *junitProblem `xml:"error"`
	Skipped   *junitProblem `xml:"skipped"`
	Out       string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit gives the results as JUnit XML: a failed check is a failure, one that is
// unknown an error, and a warning passes with its words in system-out.
func (v *Verification) JUnit() ([]byte, error) {
	suite := junitSuite{Name: clean(v.Project), Time: fmt.Sprintf("%.3f", v.Seconds), Timestamp: v.Started.UTC().Format("2006-01-02T15:04:05"), Host: clean(v.Host)}
	if v.Checks != nil {
		for _, r := range v.Checks.Results {
			suite.add(r)
		}
	}
	data, err := xml.MarshalIndent(junitSuites{Suite: suite}, "", "  ")
	return append([]byte(xml.Header), append(data, '\n')...), err
}

func (s *junitSuite) add(r check.Result) {
	c := junitCase{Name: clean(r.Name), ClassName: s.Name + "." + r.Kind, Time: fmt.Sprintf("%.3f", r.Seconds)}
	problem := &junitProblem{Message: clean(r.Difference()), Text: probes(r)}
	switch r.Outcome {
	case check.Fail:
		c.Failure = problem
		s.Failures++
	case check.Unknown:
		c.Error = problem
		s.Errors++
	case check.Skip:
		c.Skipped = problem
		s.Skipped++
	case check.Warn:
		c.Out = problem.Message
	}
	s.Tests++
	s.Cases = append(s.Cases, c)
}

// probes are the evidence as lines.
func probes(r check.Result) string {
	var b strings.Builder
	if r.Where != "" {
		b.WriteString("at " + clean(r.Where) + "\n")
	}
	for _, e := range r.Evidence {
		fmt.Fprintf(&b, "%s %s\n  %s\n", e.At.UTC().Format("15:04:05"), clean(e.Probe), clean(e.Found))
	}
	return b.String()
}
