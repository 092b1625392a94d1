package inputs

// Platform is the input of the verbs that speak to what a stack runs on. It is
// embedded in the inputs of a verb.
type Platform struct {
	Engine string `name:"engine" group:"connection" default:"auto" enum:"auto,compose,swarm" help:"What the stack runs on: compose is the host alone, swarm the Swarm that the host is a manager of. auto takes the Swarm where the host is a manager and the stack asks for it (x-shiksha: {engine: swarm} at the top level) or runs there already."`
}
