package e2e

import (
	"testing"

	"github.com/shiksha/actions/e2e/lab"
)

func TestMain(m *testing.M) { lab.Main(m) }
