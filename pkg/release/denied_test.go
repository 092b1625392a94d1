package release

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/fault"
)

// A lock file of another user: a folder that is only given to this one leaves it as it is, and
// another state folder would be a second lock.
func TestTheHintOfALockOfAnotherUser(t *testing.T) {
	t.Parallel()
	hint := fault.Hint(meaning("denied", "/var/lib/shiksha/shop/lock"))
	assert.Contains(t, hint, "sudo chown -R USER /var/lib/shiksha/shop")
	assert.NotContains(t, hint, "state-dir")
	assert.Contains(t, fault.Hint(stateFault(fs.ErrPermission, "open the ledger")), "sudo chown -R USER DIR")
}
