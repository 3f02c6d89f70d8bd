/* Hold, settle, takeover and fencing: design sections 2, 4 and 5, as the code has them. README.md
 * beside this file says what is modelled, what is not, and which code each step stands for.
 *
 * Messages are sets: one that was sent can arrive at any later time, again and again, in any order
 * (late, doubled, reordered), or never (lost). A step is only there if it changes something, so
 * that a run without faults ends. A process that is stopped is one that takes no step; it wakes up
 * when it takes its next one.
 *
 * Each mutation (-DNAME, see ./check) takes one rule away and has to be found.
 */
#ifndef JOBS
#define JOBS 2    /* requests, one each of its own id; 1 or 2 */
#endif
#ifndef WORKERS
#define WORKERS 1 /* nodes with one slot each; 1 or 2 */
#endif
#ifndef EPOCHS
#define EPOCHS 3  /* the last leader stays: faults stop */
#endif
#ifndef FAULTS
#define FAULTS 1  /* beside the deaths of leaders: a worker dies, the disk refuses a commit, a
                   * message that was under way is gone */
#endif
#ifndef TRIES
#define TRIES 2   /* leases of a job by one leader before it fails */
#endif

#define NONE 0
#define OPEN 1
#define SETTLED 2

#define TAKING 0    /* what a leader does: it takes commands into a batch, */
#define CHECKED 1   /* (only a mutation: it has looked at the epoch row,) */
#define COMMITTED 2 /* its batch is durable and no answer has left. */

/* The journal: one epoch row, and what the records add up to. */
byte row;
byte hold[JOBS];
byte settles[JOBS];

/* Messages under way. */
bit ended[JOBS];              /* a worker to the broker: RunEnded */
bit end_seen[JOBS];           /* the broker to workers: EndSeen */
short lease[WORKERS];          /* the broker to a worker: a bit for each epoch, job and try */

/* What has happened, for the properties. */
bit told[JOBS];               /* Held or AlreadyHeld has left for the client */
byte on_slot[WORKERS];        /* runs that really are on the slot */

byte faults = FAULTS;
#ifdef LIVENESS
bit tick;
#endif

#define LEASE(e, j, a) (1 << (((e) - 1) * 4 + (j) * 2 + ((a) - 1)))

/* ---- The broker's process: broker and ledger --------------------------------------------------*/

inline die() {
  epoch = 0; phase = TAKING;
  for (i : 0 .. JOBS - 1) {
    mem[i] = NONE; tries[i] = 0;
    new_hold[i] = 0; new_settle[i] = 0; say_held[i] = 0; say_seen[i] = 0
  }
  for (i : 0 .. WORKERS - 1) { lent[i] = 0 }
  i = 0
}

/* A start, or a standby that saw no renewal for a while. It may be wrong about the other one. */
inline lead() {
  row++; epoch = row;
  for (i : 0 .. JOBS - 1) {
    assert(!told[i] || hold[i] != NONE); /* nothing acknowledged is lost */
    mem[i] = hold[i];
#ifdef FORGET_QUEUE
    tries[i] = (hold[i] == OPEN -> TRIES + 1 : 0)
#endif
  }
  i = 0
}

/* The transaction: the epoch row is checked under its lock, and all records land or none. */
inline write_batch() {
#ifndef NO_FENCE
#ifndef FENCE_APART
  if
  :: row != epoch -> die()
  :: else ->
#endif
#endif
    for (i : 0 .. JOBS - 1) {
      /* No write of a fenced leader lands. */
      assert(!(new_hold[i] || new_settle[i]) || row == epoch);
      if
      :: new_hold[i] -> assert(hold[i] == NONE); hold[i] = OPEN   /* an id is admitted once */
      :: else
      fi;
      if
      :: new_settle[i] ->
        settles[i]++;
        assert(hold[i] == OPEN && settles[i] == 1);               /* a hold closes at most once */
        hold[i] = SETTLED
      :: else
      fi;
      new_hold[i] = 0; new_settle[i] = 0
    }
    i = 0;
    phase = COMMITTED
#ifndef NO_FENCE
#ifndef FENCE_APART
  fi
#endif
#endif
}

inline answer() {
  for (i : 0 .. JOBS - 1) {
    if
    :: say_held[i] ->
      assert(hold[i] != NONE);        /* answers leave after the commit that they saw */
      told[i] = 1
    :: else
    fi;
    if
    :: say_seen[i] -> assert(hold[i] == SETTLED); end_seen[i] = 1
    :: else
    fi;
    say_held[i] = 0; say_seen[i] = 0
  }
  i = 0;
  phase = TAKING
}

/* The journal refused and nothing was written: the batch is undone, its commands get a refusal. */
inline undo() {
  for (i : 0 .. JOBS - 1) {
#ifndef NO_UNDO
    mem[i] = (new_hold[i] -> NONE : (new_settle[i] -> OPEN : mem[i]));
#endif
    new_hold[i] = 0; new_settle[i] = 0; say_held[i] = 0; say_seen[i] = 0
  }
  i = 0
}

#ifdef GUESS_IN_DOUBT
inline guess() {
  for (i : 0 .. JOBS - 1) {
    if
    :: say_held[i] && !told[i] -> mem[i] = NONE
    :: else
    fi;
    say_held[i] = 0; say_seen[i] = 0
  }
  i = 0;
  phase = TAKING
}
#endif

#define has_records (new_hold[0] || new_settle[0] || new_hold[JOBS-1] || new_settle[JOBS-1])
#define has_answers (say_held[0] || say_seen[0] || say_held[JOBS-1] || say_seen[JOBS-1])
#define is_lent(j) (lent[0] == (j) + 1 || lent[WORKERS-1] == (j) + 1)
#define may_fail (row < EPOCHS || epoch < row)

#ifdef SETTLE_TWICE
#define may_settle(j) (mem[j] != NONE && settles[j] < 2)
#else
#define may_settle(j) (mem[j] == OPEN)
#endif

/* What a leader does about job j. A request can arrive at any time: its client asks again. */
#define JOB_STEPS(j) \
  :: d_step { epoch && phase == TAKING && mem[j] == NONE -> \
       mem[j] = OPEN; new_hold[j] = 1; HELD(j) } \
  :: d_step { epoch && phase == TAKING && mem[j] != NONE && !told[j] && REPEATS(j) -> \
       HELD_BEFORE(j) } \
  :: d_step { epoch && phase == TAKING && ended[j] && may_settle(j) && !new_settle[j] -> \
       mem[j] = SETTLED; new_settle[j] = 1; SEEN(j); give_back(j) } \
  :: d_step { epoch && phase == TAKING && ended[j] && mem[j] == SETTLED && !end_seen[j] && \
       !say_seen[j] -> say_seen[j] = 1; give_back(j) } \
  :: d_step { epoch && phase == TAKING && mem[j] == OPEN && !new_hold[j] && tries[j] == TRIES && \
       !is_lent(j) -> mem[j] = SETTLED; new_settle[j] = 1 }

/* Leases, which nobody waits for: on slot w; and an attempt that is given up for lost, rightly or
 * not (missed heartbeats, a refusal, a restart of the worker). */
#define LEASE_STEPS(w, j) \
  :: d_step { epoch && phase == TAKING && mem[j] == OPEN && !new_hold[j] && !is_lent(j) && \
       lent[w] == 0 && tries[j] < TRIES -> \
       assert(hold[j] != NONE); /* a lease stands on a durable hold */ \
       tries[j]++; lent[w] = j + 1; lease[w] = lease[w] | LEASE(epoch, j, tries[j]) } \
  :: d_step { epoch && phase == TAKING && lent[w] == j + 1 -> lent[w] = 0 }

inline give_back(j) {
  for (i : 0 .. WORKERS - 1) { lent[i] = (lent[i] == j + 1 -> 0 : lent[i]) }
  i = 0
}

#ifdef ANSWER_BEFORE_COMMIT
#define HELD(j) told[j] = 1
#else
#define HELD(j) say_held[j] = 1
#endif
#ifdef END_SEEN_BEFORE_COMMIT
#define SEEN(j) end_seen[j] = 1
#else
#define SEEN(j) say_seen[j] = 1
#endif
#ifdef REPEAT_BEFORE_COMMIT
#define REPEATS(j) 1
#define HELD_BEFORE(j) told[j] = 1
#else
#define REPEATS(j) (!say_held[j])
#define HELD_BEFORE(j) say_held[j] = 1
#endif

proctype Broker(byte me) {
  byte epoch, phase, i;
  byte mem[JOBS], tries[JOBS], lent[WORKERS];
  bit new_hold[JOBS], new_settle[JOBS], say_held[JOBS], say_seen[JOBS];
end:
  do
  /* The two are alike: the first to lead is number 0. */
  :: d_step { epoch == 0 && row < EPOCHS && me <= row -> lead() }
  JOB_STEPS(0)
  LEASE_STEPS(0, 0)
#if JOBS > 1
  JOB_STEPS(1)
  LEASE_STEPS(0, 1)
#endif
#if WORKERS > 1
  LEASE_STEPS(1, 0)
#if JOBS > 1
  LEASE_STEPS(1, 1)
#endif
#endif
#ifdef FENCE_APART
  :: d_step { epoch && phase == TAKING && has_records && row == epoch -> phase = CHECKED }
  :: d_step { epoch && phase == TAKING && has_records && row != epoch -> die() }
  :: d_step { epoch && phase == CHECKED -> write_batch() }
#else
  :: d_step { epoch && phase == TAKING && has_records -> write_batch() }
#endif
  /* Nothing to write: all that these answers saw is durable. */
  :: d_step { epoch && phase == TAKING && !has_records && has_answers -> answer() }
  :: d_step { epoch && phase == COMMITTED -> answer() }
  :: d_step { epoch && phase == TAKING && has_records && faults > 0 -> faults--; undo() }
#ifdef GUESS_IN_DOUBT
  /* The answer to a COMMIT did not come, and the leader takes it for refused. */
  :: d_step { epoch && phase == COMMITTED && faults > 0 -> faults--; guess() }
#endif
  /* kill -9, a failed disk, a commit in doubt: before it, or after it and before its answers. */
  :: d_step { epoch && may_fail -> die() }
  od
}

/* ---- A worker's process, and what runs on its slot --------------------------------------------*/

#ifdef LEND_OCCUPIED
#define IS_FREE 1
#else
#define IS_FREE (slot == 0)
#endif

#define TAKE(e, j, a) \
  :: d_step { alive && IS_FREE && (lease[me] & LEASE(e, j, a)) && e >= seen_epoch && \
       !(known & (1 << (j * 2 + a - 1))) -> \
       seen_epoch = e; slot = j + 1; known = known | (1 << (j * 2 + a - 1)); \
       on_slot[me]++; assert(on_slot[me] == 1) /* no slot has two leases at once */ }

#define TAKES(e, j) TAKE(e, j, 1) TAKE(e, j, 2)

#define WORKER_JOB_STEPS(j) \
  :: d_step { alive && slot == j + 1 -> on_slot[me]--; slot = 0; unseen[j] = 1; ended[j] = 1 } \
  :: d_step { alive && unseen[j] && !end_seen[j] && !ended[j] -> ended[j] = 1 } \
  :: d_step { alive && unseen[j] && end_seen[j] -> \
       assert(hold[j] == SETTLED); /* a result is kept until its job's end is durable */ \
       unseen[j] = 0 } \
  TAKES(1, j) TAKES(2, j) TAKES(3, j)

proctype Worker(byte me) {
  bit alive = 1;
  byte seen_epoch, slot, i;
  unsigned known : 4; /* leases that ran or run here */
  bit unseen[JOBS];   /* ends that no broker has acknowledged */
end:
  do
  WORKER_JOB_STEPS(0)
#if JOBS > 1
  WORKER_JOB_STEPS(1)
#endif
  :: d_step { alive && seen_epoch < row -> seen_epoch++ } /* Joined, or a heartbeat's answer */
  :: d_step { alive && faults > 0 ->
       faults--; alive = 0; slot = 0; seen_epoch = 0; known = 0;
       for (i : 0 .. JOBS - 1) { unseen[i] = 0 };
       i = 0 }
  /* Its supervisor ends the run: the parent died, or its own timer rang. */
  :: d_step { !alive && on_slot[me] > 0 -> on_slot[me]-- }
#ifdef NO_SWEEP
  :: d_step { !alive -> alive = 1 }
#else
  :: d_step { !alive && on_slot[me] == 0 -> alive = 1 }
#endif
  od
}

/* ---- What else can happen ---------------------------------------------------------------------*/

#define LOSE_OF(j) \
  :: d_step { faults > 0 && ended[j] -> faults--; ended[j] = 0 } \
  :: d_step { faults > 0 && end_seen[j] -> faults--; end_seen[j] = 0 }

proctype Network() {
end:
  do
  LOSE_OF(0)
#if JOBS > 1
  LOSE_OF(1)
#endif
  :: d_step { faults > 0 && lease[0] != 0 -> faults--; lease[0] = 0 }
#if WORKERS > 1
  :: d_step { faults > 0 && lease[1] != 0 -> faults--; lease[1] = 0 }
#endif
  od
}

#ifdef LIVENESS
/* Time never stands still, so that only fairness lets anybody else go on. */
proctype Clock() {
end:
  do
  :: tick = 1 - tick
  od
}

/* Jobs are alike: what holds for one holds for all. */
ltl settled { [] (told[0] -> <> (hold[0] == SETTLED)) }
#endif

init {
  atomic {
    run Broker(0); run Broker(1); run Worker(0);
#if WORKERS > 1
    run Worker(1);
#endif
    run Network();
#ifdef LIVENESS
    run Clock();
#endif
  }
}
