// What the Go clients share: one scenario per process, one JSON line as its result.
//
//	client BROKER SCENARIO NAME                      NAME: prefix of the topics and groups to use
//	client BROKER member MODE TOPIC GROUP INSTANCE   one member of a group, until its input ends
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sort"
	"strconv"
	"time"
)

// Only so that a client which waits for ever fails its scenario.
const wait = 30 * time.Second

var (
	codecValues = repeated()
	ctx, _      = context.WithTimeout(context.Background(), 15*time.Minute)
)

func check(holds bool, said ...any) {
	if !holds {
		panic(fmt.Sprint(said...))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func must1[T any](value T, err error) T {
	must(err)
	return value
}

// value is the content of record n.
func value(n int) string { return fmt.Sprintf("v%d", n) }

func repeated() []string {
	values := make([]string, 100)
	for i := range values {
		values[i] = string(bytes.Repeat([]byte(fmt.Sprintf("v%d ", i)), 50))
	}
	return values
}

func idleTime() time.Duration {
	if seconds, err := strconv.Atoi(os.Getenv("CLIENT_IDLE_S")); err == nil {
		return time.Duration(seconds) * time.Second
	}
	return 5 * time.Second
}

// object is what the topic with four partitions carries.
type object struct {
	User   int `json:"user"`
	Number int `json:"number"`
}

func objects() (keys []string, values [][]byte) {
	for number := range 100 {
		keys = append(keys, fmt.Sprintf("user-%d", number%20))
		values = append(values, must1(json.Marshal(object{number % 20, number})))
	}
	return keys, values
}

// checkObjects: every object is there once, each user's in order, and no partition was left out.
func checkObjects(partitions []int, values [][]byte) {
	last, seen, used := map[int]int{}, map[int]bool{}, map[int]bool{}
	for i, data := range values {
		var one object
		must(json.Unmarshal(data, &one))
		before, known := last[one.User]
		check(!known || before < one.Number, "order of user ", one.User)
		last[one.User], seen[one.Number], used[partitions[i]] = one.Number, true, true
	}
	check(len(values) == 100 && len(seen) == 100 && len(used) == 4, len(values), len(seen), len(used))
}

// assigned says the whole assignment of this member, as it is now.
func assigned(partitions []int) {
	sort.Ints(partitions)
	say("assigned", partitions)
}

// revoked says what this member was just told to give up.
func revoked(partitions []int) { say("revoked", partitions) }

func say(word string, partitions []int) {
	line := word
	for _, one := range partitions {
		line += " " + strconv.Itoa(one)
	}
	fmt.Println(line)
}

func unsupported(why string) {
	fmt.Println("unsupported", why)
	os.Exit(0)
}

// untilInputEnds is cancelled when nobody speaks to us any more: a member then leaves its group.
func untilInputEnds() context.Context {
	until, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return until
}

func moduleVersion(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, one := range info.Deps {
		if one.Path == path {
			return one.Version
		}
	}
	return ""
}

// run plays what the arguments name.
func run(client, module string, scenarios map[string]func(broker, name string), member func(broker, mode, topic, group, instance string)) {
	broker, scenario := os.Args[1], os.Args[2]
	if scenario == "member" {
		member(broker, os.Args[3], os.Args[4], os.Args[5], os.Args[6])
		return
	}
	result, detail := "pass", ""
	func() {
		defer func() {
			if said := recover(); said != nil {
				debug.PrintStack()
				result, detail = "fail", fmt.Sprint(said)
			}
		}()
		play, known := scenarios[scenario]
		if !known {
			result, detail = "skipped", client+" has nothing for it"
			return
		}
		play(broker, os.Args[3])
	}()
	line := map[string]string{"client": client, "version": moduleVersion(module), "scenario": scenario, "result": result, "detail": detail}
	fmt.Println(string(must1(json.Marshal(line))))
}
