package inputs

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/shiksha/actions/pkg/fault"
)

// CheckStateDir tells what is wrong with the input state-dir.
func CheckStateDir(dir string) []error {
	if dir == "" || strings.HasPrefix(dir, "/") {
		return nil
	}
	return []error{fault.New(fault.Input, "state-dir", "give the absolute path of a folder on the host, like /var/lib/shiksha",
		"%q is not an absolute path", dir)}
}

var projectName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// CheckProject tells what is wrong with the input project.
func CheckProject(name string) []error {
	if name == "" || projectName.MatchString(name) {
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

// CheckProbe tells what is wrong with the input probe-url.
func CheckProbe(address string) []error {
	if address == "" {
		return nil
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		return nil
	}
	return []error{fault.New(fault.Input, "probe-url", "for example probe-url: https://shop.example.org/health",
		"is not an address of http or https")} // which may hold a password, so it is not repeated
}
