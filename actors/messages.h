#pragma once
// Every message of the pool, by the two who exchange it, in actors/messages/. Each struct lists its
// fields once, in fields(): CAF's inspect, the msgpack codec (base/pack.h), the journal and the
// trace printer walk that list. Fields are positional: append only. At the end, one variant per
// role says who accepts what; the typed CAF handles are derived from those variants. All traffic is
// one-way: a reply carries the id of what it answers (`query`, `ticket`, or the job). Plain values,
// no behaviour.
//
// Glossary (design section 1 has the whole list): an *account* pays; a *job* is one admitted
// request; its *hold* is quota set aside for the cost of its *declared* duration; *occupancy* is
// the longest time it can occupy its slots; a *lease* is its right to slots of a node until a
// deadline; an *attempt* counts its leases from 1; to *settle* is to replace the hold by the actual
// cost, which makes the *receipt*; the *promise* is the latest start that the pool committed to.

#include <variant>

#include "actors/messages/client.h"
#include "actors/messages/console.h"
#include "actors/messages/history.h"
#include "actors/messages/ledger.h"
#include "actors/messages/overview.h"
#include "actors/messages/parts.h"
#include "actors/messages/session.h"
#include "actors/messages/visitor.h"
#include "actors/messages/worker.h"

namespace gpupool {

// Time passed. Every actor gets one when its wake_at has come.
struct Tick {
  std::uint8_t unused = 0;  // CAF messages have at least one field here
  auto fields() { return std::tie(unused); }
};

using ToBroker =
    std::variant<Tick, Submit, Cancel, Watch, JobsQuery, ClientGone, Leading, Held, NotHeld,
                 AlreadyHeld, Requeued, Restated, Settled, LedgerRefused, Join, Heartbeat,
                 LeaseRefused, RunBegan, RunStep, RunEnded, NodesQuery, QueueQuery, OperatorCancel,
                 DrainNodes, Stop, Extended, NotExtended, SettledBefore, Quote, SlotChanged,
                 ResumeNode, RankShared, RankLost, RemoveNode, RunWarned, FetchFiles, FilesPiece,
                 RunGranted, VisitorSubmits, VisitorAsks, VisitorLeaves>;

using ToLedger =
    std::variant<Tick, Lead, Reserve, Leased, Requeue, Restate, Settle, QuotaQuery, ReceiptsQuery,
                 ReceiptQuery, ExplainQuery, ChangesQuery, Shapes, Configure, SetAccountTier,
                 RevokeToken, SetDraining, Announce, StandingQuery, AccountsQuery, AuditQuery,
                 GrantCredits, AdjustQuota, Extend, UsageQuery, Recalled, ReadJournal, QuoteQuery,
                 StoreUpload, FetchFiles>;

using ToHistory =
    std::variant<Tick, JournalRead, ReceiptsAsked, ReceiptAsked, StoryAsked, UsageAsked, Recall>;

using ToWorker =
    std::variant<Tick, Joined, HeartbeatSeen, Lease, EndSeen, CancelRun, FetchResult, ExecutorReady,
                 ExecutorBegan, ExecutorStep, ExecutorDone, ExecutorExited, FetchLog, Stop,
                 ExtendRun, RankLeft, DeviceHealth, ResumeSlots, RankShared, FetchFiles, FilesPiece,
                 AllowProcess, ReleaseLease, ProcessGone>;

using ToSession =
    std::variant<Tick, SessionOpened, SessionClosed, ClientSubmit, ClientCancel, ClientWatch,
                 ClientQuota, ClientReceipts, ClientJobs, ClientExplain, ClientFetch, ClientPing,
                 SubmitRefused, JobMoved, JobSettled, BrokerError, JobsList, QuotaFound,
                 ReceiptsFound, ReceiptFound, Explained, ResultChunk, ClientLogs, ClientChanges,
                 ClientOperate, LogChunk, ChangesFound, Operated, Announcement, ClientUsage,
                 UsageFound, ClientQuote, Quoted, ClientUpload, UploadStored, ClientOverview,
                 OverviewFound>;

using ToConsole = std::variant<Tick, Operate, Changed, Standing, AccountsFound, Audited, NodesFound,
                               QueueFound, CancelTaken, ConfigReloaded, NodeRemoved, PoolPulse,
                               LedgerPulse, RefusalNoted, OverviewQuery>;

// What the gateway hands to a client's socket.
using ToClient = std::variant<SessionWelcome, SessionError, SessionRefused, JobEvent, JobDone,
                              QuotaAnswer, ReceiptsAnswer, JobsAnswer, ExplainAnswer, ResultChunk,
                              SessionPong, LogChunk, ChangesAnswer, OperateAnswer, SessionNotice,
                              UsageAnswer, QuoteAnswer, UploadAnswer, OverviewAnswer>;

using ToExecutors = std::variant<StartExecutor, StartRun, EndBy, Disarm, KillExecutor, RankFound,
                                 SetAside, FilesPiece, WatchProcess, KillProcess>;

// What a node's device API is told, by its worker and for its visitors.
using ToDeviceApi = std::variant<LeaseAnswer, VisitorRecognised, VisitorRefused, VisitorFailed,
                                 VisitorMoved, VisitorSettled, VisitorQuota>;

// What the gateway itself is told, by the console: whom it recognises how, and what it announces.
using ToGateway = std::variant<Standing>;

}  // namespace gpupool
