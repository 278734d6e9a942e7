// Package histories runs three processes of an application that share one backend, while
// browsers send requests and servers, networks and processes fail. It records every request,
// and package check decides whether the history keeps sessionguard's promises.
//
//	go test .                                   # each configuration for a few seconds
//	go test . -run Histories/Redis -args -for 10m -seed 7
//	go test . -args -for 1m -table README.md    # writes the table
//
// node_test.go is the application, browsers_test.go its users, faults_test.go and
// configurations_test.go say what fails, and mistakes_test.go what the check must find.
package histories
