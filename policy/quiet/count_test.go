package quiet

import (
	"strings"
	"testing"
	"time"
)

// Time counts from one moment to the next if both count, and begins anew with every doubt.
func TestSeen(t *testing.T) {
	wall := time.Unix(1000, 0)
	runs := Sight{Name: "web", Content: "1", Held: 1}
	other := Sight{Name: "web", Content: "2", Held: 2}
	again := Sight{Name: "web", Content: "1", Held: 2}
	idle := Sight{Name: "web", Content: "1", Held: 1, Idle: "no container runs under it"}
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		steps []any // a Sight is a look a second later, a string an event before it
		want  time.Duration
		anew  string
		lasts time.Duration // a look
	}{
		"one look shows nothing":                 {steps: []any{runs}},
		"from look to look":                      {steps: []any{runs, runs, runs}, want: 2 * time.Second},
		"a container that comes":                 {steps: []any{idle, runs, runs}, want: time.Second},
		"a container that goes":                  {steps: []any{runs, runs, idle, idle}, want: time.Second},
		"a container that comes again":           {steps: []any{runs, runs, idle, runs, runs}, want: 2 * time.Second},
		"a denial":                               {steps: []any{runs, runs, "deny web", runs}, anew: "would have been denied"},
		"a denial, and on":                       {steps: []any{runs, "deny web", runs, runs}, want: time.Second, anew: "would have been denied"},
		"somebody else's denial":                 {steps: []any{runs, "deny shop", runs}, want: time.Second},
		"a loss":                                 {steps: []any{runs, runs, "lost", runs}, anew: "lost"},
		"another content":                        {steps: []any{runs, runs, other}},
		"loaded again":                           {steps: []any{runs, runs, again}, anew: "loaded again"},
		"removed":                                {steps: []any{runs, runs, Sight{Name: "web", Content: "1", Idle: "not loaded"}}, anew: "removed"},
		"loaded for the first time":              {steps: []any{Sight{Name: "web", Content: "1", Idle: "not loaded"}, runs, runs}, want: time.Second},
		"no policy has it for a while":           {steps: []any{runs, runs, nil, runs}},
		"a watcher that was stopped for an hour": {steps: []any{runs, "an hour", runs}, want: 2 * time.Second},
		"a clock that goes back":                 {steps: []any{runs, runs, "back", runs}, want: time.Second},

		// What the first look cannot have seen.
		"a new profile counts from the end of the look":   {lasts: 300 * ms, steps: []any{runs, runs, runs}, want: 1700 * ms},
		"one that is replaced does, too":                  {lasts: 300 * ms, steps: []any{runs, runs, other, other}, want: 700 * ms},
		"and after a denial, which may be in the look":    {lasts: 300 * ms, steps: []any{runs, runs, "deny web", runs, runs}, want: 700 * ms, anew: "would have been denied"},
		"and loaded again":                                {lasts: 300 * ms, steps: []any{runs, again, again}, want: 700 * ms, anew: "loaded again"},
		"and for a container that comes":                  {lasts: 300 * ms, steps: []any{idle, runs, runs}, want: 700 * ms},
		"a look that lasts longer than it is to the next": {lasts: 1500 * ms, steps: []any{runs, runs}},
	} {
		t.Run(name, func(t *testing.T) {
			var s State
			now := 100 * time.Second
			for _, step := range c.steps {
				switch step {
				case "deny web", "deny shop":
					s.Denied(strings.TrimPrefix(step.(string), "deny "), wall, &Denial{})
					continue
				case "lost":
					s.Begin(wall, "lost")
					continue
				case "an hour":
					now += time.Hour
					continue
				case "back":
					now -= 10 * time.Second
					continue
				}
				now += time.Second
				var sights []Sight
				if sight, ok := step.(Sight); ok {
					sights = []Sight{sight}
				}
				s.Seen(now, now+c.lasts, wall, 2*time.Second, sights)
			}
			if len(s.Profiles) != 1 || s.Profiles[0].Quiet != c.want || !strings.Contains(s.Profiles[0].Anew, c.anew) || c.anew == "" && s.Profiles[0].Anew != "" {
				t.Errorf("%+v, want %v, anew %q", s.Profiles[0], c.want, c.anew)
			}
		})
	}
}
