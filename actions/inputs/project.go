package inputs

import (
	"strings"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// CheckStateDir tells what is wrong with the input state-dir.
func CheckStateDir(dir string) []error {
	if dir == "" || strings.HasPrefix(dir, "/") {
		return nil
	}
	return []error{fault.New(fault.Input, "state-dir", "give the absolute path of a folder on the host, like /var/lib/shiksha",
		"%q is not an absolute path", dir)}
}

// CheckProject tells what is wrong with the input project.
func CheckProject(name string) []error {
	if name == "" || stack.ValidProject(name) {
		return nil
	}
	return []error{fault.New(fault.Input, "project", "use lower-case letters, digits, - and _, as Compose does",
		"%q cannot be the name of a Compose project", name)}
}

// CheckLogin tells what is wrong with the two halves of a registry's login.
func CheckLogin(username string, password Secret) []error {
	if (username == "") == (password == "") {
		return nil
	}
	missing := "registry-password"
	if username == "" {
		missing = "registry-username"
	}
	return []error{fault.New(fault.Input, missing, "give both, or neither for a registry without a login",
		"is required when the other half of the login is given")}
}
