package gateway

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// FuzzSight: what a container answers may be cut anywhere or come from somebody
// else's program; what is understood of it has to make sense.
func FuzzSight(f *testing.F) {
	const stat = "7 (nginx) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1"
	whole := "shiksha-hosts\n127.0.0.1 localhost\n10.0.0.5 api # shiksha:api\n\nshiksha-writable yes\nshiksha-processes\n" +
		stat + "\tyes\tnginx: master process nginx -g daemon off;\n" +
		strings.Replace(strings.Replace(stat, "7 (", "9 (", 1), "S 1", "S 7", 1) + "\tno\tnginx: worker process is shutting down\nshiksha-end\n"
	f.Add(whole)
	f.Add(whole[:len(whole)-5])
	f.Fuzz(func(t *testing.T, out string) {
		seen, err := parseSight(out)
		if err != nil {
			return
		}
		assert.Equal(t, seen.master.pid != 0, len(seen.invocation) > 0)
		if seen.unsettled == 0 && seen.master.pid == 0 {
			assert.Empty(t, seen.workers, "workers without a master")
		}
	})
}

// FuzzMarks: whatever a hosts file holds, setting a service's addresses and
// taking them out again leaves every line of others as it was.
func FuzzMarks(f *testing.F) {
	f.Add("127.0.0.1 localhost\n10.0.0.5 api # shiksha:api\n10.0.0.6 web # shiksha:web", "api")
	f.Add("", "api")
	f.Add("10.0.0.5 x # shiksha:\r\n# shiksha:api # shiksha:web\n", "web")
	f.Fuzz(func(t *testing.T, hosts, service string) {
		lines, err := markedLines(service, []string{"10.0.0.9"})
		if err != nil {
			return
		}
		others := dropMarks(hosts, service)
		set := joinMarks(others, lines)
		assert.Equal(t, []string{"10.0.0.9"}, readMarks(set)[service])
		want := others
		if want != "" && !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		assert.Equal(t, want, dropMarks(set, service))
	})
}
