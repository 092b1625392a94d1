package rollback

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// What is given goes before what the release was made with.
func TestTheAddressThatChecksAsk(t *testing.T) {
	t.Parallel()
	l, _ := ledger(t, release.Record{Version: "v1", Outcome: good})
	st := &stack.Stack{URL: "https://own.example.org"}
	Options{}.address(t.Context(), l, st)
	assert.Equal(t, "https://own.example.org", st.URL)
	Options{URL: "https://given.example.org"}.address(t.Context(), l, st)
	assert.Equal(t, "https://given.example.org", st.URL)
	none := &stack.Stack{}
	Options{}.address(t.Context(), l, none)
	assert.Empty(t, none.URL, "a serving release that cannot be read says nothing")
}
