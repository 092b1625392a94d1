// Package action is GitHub's side of a run: what the runner tells us (inputs,
// the run), and what we tell the runner (masks, groups, annotations, outputs,
// the job summary). It stands on go-githubactions and adds what that library
// leaves open: it never panics, works outside a runner as well, and text that
// comes from elsewhere cannot become a workflow command, an output or a
// half-uploaded summary.
package action

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/sethvargo/go-githubactions"
)

// Action talks to the runner. All methods may be called from several
// goroutines. Outside GitHub Actions the commands do nothing.
type Action struct {
	getenv func(string) string
	gh     *githubactions.Action

	mu    sync.Mutex
	w     io.Writer
	notes map[string]int
}

// New makes an Action that reads the environment through getenv and writes
// workflow commands to w, which has to be the standard output of the process:
// the runner reads commands nowhere else. Write errors are dropped, since a
// broken pipe to the log is no reason to leave a release half done.
func New(getenv func(string) string, w io.Writer) *Action {
	quiet := quietWriter{w}
	return &Action{
		getenv: getenv,
		gh:     githubactions.New(githubactions.WithWriter(quiet), githubactions.WithGetenv(getenv)),
		w:      quiet,
		notes:  map[string]int{},
	}
}

// Active tells whether a runner of GitHub Actions (or act) started us.
func (a *Action) Active() bool { return a.getenv("GITHUB_ACTIONS") == "true" }

// Debug tells whether the run was started with debug logging.
func (a *Action) Debug() bool { return a.getenv("RUNNER_DEBUG") == "1" }

// Input gives the input of that name, without white space around it, or "" when
// it was not given. GitHub keeps the dashes of a name: `ssh-key` arrives as
// INPUT_SSH-KEY.
func (a *Action) Input(name string) string { return a.gh.GetInput(name) }

// Run is what a release records about where it came from. Outside a runner the
// fields are empty.
type Run struct {
	// Repository is owner/name, Commit the full SHA, Ref the branch or tag and
	// FullRef the same as git has it ("refs/heads/main", "refs/pull/12/merge").
	Repository, Commit, Ref, FullRef string
	// Actor is the login of who started this attempt of the run, URL the page that
	// shows the attempt.
	Actor, URL string
	// ID is the run's number at GitHub, the same for all its attempts.
	ID string
	// Server is where people see GitHub, API where programs ask it.
	Server, API string
	// PullRequest is the number of the pull request that the run is about, 0 for none.
	PullRequest int
	// Fork is set when the run is about a pull request from a fork: its token can
	// only read.
	Fork bool
	// Workspace is the folder of the checkout inside the action's container.
	Workspace string
}

// Run tells which run this is.
func (a *Action) Run() Run {
	if !a.Active() {
		return Run{}
	}
	run := Run{
		Repository: a.getenv("GITHUB_REPOSITORY"),
		Commit:     a.getenv("GITHUB_SHA"),
		Ref:        a.getenv("GITHUB_REF_NAME"),
		FullRef:    a.getenv("GITHUB_REF"),
		Actor:      a.getenv("GITHUB_TRIGGERING_ACTOR"),
		ID:         a.getenv("GITHUB_RUN_ID"),
		Server:     strings.TrimRight(a.getenv("GITHUB_SERVER_URL"), "/"),
		API:        a.getenv("GITHUB_API_URL"),
		Workspace:  a.getenv("GITHUB_WORKSPACE"),
	}
	run.PullRequest, run.Fork = a.pullRequest()
	if run.Actor == "" {
		run.Actor = a.getenv("GITHUB_ACTOR")
	}
	if run.Server != "" && run.Repository != "" && run.ID != "" {
		run.URL = run.Server + "/" + run.Repository + "/actions/runs/" + run.ID
		if attempt := a.getenv("GITHUB_RUN_ATTEMPT"); attempt != "" {
			run.URL += "/attempts/" + attempt
		}
	}
	return run
}

// pullRequest reads the event that started the run. A pull_request_target runs with
// the token of the repository itself, so it is none from a fork.
func (a *Action) pullRequest() (number int, fork bool) {
	if !strings.HasPrefix(a.getenv("GITHUB_EVENT_NAME"), "pull_request") {
		return 0, false
	}
	data, err := os.ReadFile(a.getenv("GITHUB_EVENT_PATH"))
	if err != nil {
		return 0, false
	}
	var told struct {
		PullRequest struct {
			Number int
			Head   struct {
				Repo struct {
					FullName string `json:"full_name"`
				}
			}
		} `json:"pull_request"`
	}
	if json.Unmarshal(data, &told) != nil {
		return 0, false
	}
	from := told.PullRequest.Head.Repo.FullName
	foreign := from != "" && !strings.EqualFold(from, a.getenv("GITHUB_REPOSITORY"))
	return told.PullRequest.Number, foreign && a.getenv("GITHUB_EVENT_NAME") != "pull_request_target"
}

// Cache gives the address and the token of the runner's cache service; both are
// empty where it has none. The token is a secret.
func (a *Action) Cache() (url, token string) {
	if !a.Active() {
		return "", ""
	}
	return a.getenv("ACTIONS_RESULTS_URL"), a.getenv("ACTIONS_RUNTIME_TOKEN")
}

// quietWriter never reports an error: the library panics on one.
type quietWriter struct{ w io.Writer }

func (q quietWriter) Write(p []byte) (int, error) {
	_, _ = q.w.Write(p)
	return len(p), nil
}
