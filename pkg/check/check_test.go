package check

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWorst(t *testing.T) {
	t.Parallel()
	must := func(o Outcome) Result { return Result{Required: true, Outcome: o} }
	may := func(o Outcome) Result { return Result{Outcome: o} }
	for name, c := range map[string]struct {
		results []Result
		failOn  Outcome
		want    Outcome
	}{
		"nothing was checked":             {nil, Fail, Unknown},
		"all pass":                        {[]Result{must(Pass), may(Pass)}, Fail, Pass},
		"a required one fails":            {[]Result{must(Unknown), must(Fail), must(Pass)}, Fail, Fail},
		"a required one knows nothing":    {[]Result{must(Unknown), must(Pass)}, Fail, Unknown},
		"a required one was skipped":      {[]Result{must(Skip)}, Fail, Unknown},
		"one that informs fails":          {[]Result{may(Fail), must(Pass)}, Fail, Pass},
		"one that informs, warnings fail": {[]Result{may(Warn), must(Pass)}, Warn, Fail},
		"one that informs knows nothing":  {[]Result{may(Unknown), must(Pass)}, Fail, Pass},
		"and warnings fail":               {[]Result{may(Unknown), must(Pass)}, Warn, Unknown},
		"one was left out":                {[]Result{may(Skip), must(Pass)}, Warn, Pass},
		"a required one warns":            {[]Result{must(Warn)}, Fail, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Report{Results: c.results}
			assert.Equal(t, c.want, r.Worst(c.failOn))
		})
	}
	assert.Equal(t, 2, (&Report{Results: []Result{must(Pass), may(Pass), may(Skip)}}).Count(Pass))
}
