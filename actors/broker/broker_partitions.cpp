// The queues of the pool: one for each partition, and one for each reservation while it is on.
// Reserved slots leave the capacity of their partition as soon as the reservation is known, so no
// promise ever counts on them; until it begins they run what will be over by then. A job that may
// not wait in a reservation's queue any more goes on in its app's partition, in its old place.
#include <algorithm>

#include "actors/broker/broker.h"

namespace gpupool {

Partition& Broker::partition(PartitionId id) {
  while (partitions_.size() <= id.value) {
    Partition& made =
        partitions_.emplace_back(PartitionId{static_cast<std::uint32_t>(partitions_.size())});
    made.dispatcher.use(capacity(made));  // its jobs can be promised something before it has a slot
  }
  return partitions_[id.value];
}

// Of its app; where the configuration does not have that any more, the default one.
PartitionId Broker::home_of(const Hold& hold) {
  const AppConfig* app = config_->app(hold.body->app);
  return placement_.partition(app ? app->partition : "default");
}

// By the name in its record.
PartitionId Broker::partition_of(const Hold& hold) {
  for (const ReservedFor& one : reserved_)
    if (placement_.name_of(one.reservation.id) == hold.partition && may_wait(one, hold, now_))
      return one.reservation.id;
  return home_of(hold);
}

// Whether a job may stand in the queue of a reservation: that is on and for its account, its slots
// are there or may still be on their way, and if it starts by then it is over before that ends.
bool Broker::may_wait(const ReservedFor& reserved, const Hold& hold, Instant starts_by) {
  const Reservation& it = reserved.reservation;
  if (!reserved.is_on(now_) || !reserved.is_for(hold.account) || home_of(hold) != it.of)
    return false;
  if (std::max(now_, starts_by) + hold.occupancy > it.until) return false;
  return in_grace() || !knows_nodes(config_->broker.rejoin_grace) ||
         placement_.has(it.id, shape_of(hold));
}

std::size_t Broker::waiting_jobs() const {
  std::size_t jobs = 0;
  for (const Partition& one : partitions_) jobs += one.dispatcher.size();
  return jobs;
}

// From the configuration; slots_changed() has to follow.
void Broker::read_reservations() {
  reserved_.clear();
  reservations_due_ = Instant::never();
  for (const ReservationConfig& one : config_->reservations) {
    if (one.until <= now_) continue;
    ReservedFor reserved{.reservation = {.id = placement_.partition(one.name),
                                         .of = placement_.partition(one.partition),
                                         .slots = one.slots,
                                         .from = one.from,
                                         .until = one.until},
                         .accounts = {}};
    for (const std::string& user : one.users) reserved.accounts.push_back("user:" + user);
    partition(reserved.reservation.id).is_reservation = true;
    for (const Instant edge : {one.from, one.until})
      if (edge > now_) reservations_due_ = std::min(reservations_due_, edge);
    reserved_.push_back(std::move(reserved));
  }
}

// What begins and what ends by the clock.
void Broker::mind_reservations() {
  if (now_ < reservations_due_) return leave_what_is_over();
  read_reservations();
  slots_changed("a reservation began or ended");
}

void Broker::leave_what_is_over() {
  std::vector<JobId> waiting;
  for (const Partition& queue : partitions_) {
    if (!queue.is_reservation || queue.jobs == 0) continue;
    queue.dispatcher.walk(
        [&waiting](const Ahead&, const Waiting& one) { waiting.push_back(one.job); });
    for (const auto& [id, one] : queue.returning) waiting.push_back(id);
  }
  std::erase_if(waiting, [this](JobId id) { return !leave_what_is_over(jobs_.at(id)); });
  for (const JobId id : waiting) {
    Job& job = jobs_.at(id);
    if (job.phase != Phase::queued) continue;
    restate(job, bound_of(job), "the slots that were reserved for it are not there any more");
    restate_for(job, "an older job came from a reservation");
  }
}

bool Broker::leave_what_is_over(Job& job) {
  if (!partition_of(job).is_reservation) return false;
  const Instant starts_by = job.phase == Phase::queued ? job.promise : now_;
  for (const ReservedFor& one : reserved_)
    if (one.reservation.id == job.partition && may_wait(one, job.hold, starts_by)) return false;
  move(job, home_of(job.hold));
  return true;
}

void Broker::move(Job& job, PartitionId to) {
  Partition& from = partition_of(job);
  Partition& into = partition(to);
  const JobId id = job.hold->job;
  const bool waits = job.phase == Phase::queued && from.dispatcher.remove(id, placement_);
  if (auto returning = from.returning.extract(id)) into.returning.insert(std::move(returning));
  --from.jobs;
  into.take(*job.hold);
  job.partition = to;
  if (waits) into.dispatcher.push(waiting_of(job.hold));
}

// The queues that a request may stand in: of the reservations for its account that are on and have
// slots of its shape, and last of its app's partition.
std::vector<PartitionId> Broker::queues_for(const AccountId& account, PartitionId home,
                                            const Shape& shape) const {
  std::vector<PartitionId> queues;
  for (const ReservedFor& one : reserved_)
    if (one.is_on(now_) && one.reservation.of == home && one.is_for(account) &&
        placement_.has(one.reservation.id, shape))
      queues.push_back(one.reservation.id);
  queues.push_back(home);
  return queues;
}

// The oldest that waits in the partition and could start on reserved slots of its own now: such
// slots as nobody else is about to take.
Job* Broker::first_for(const ReservedFor& reserved) {
  const Partition& queue = partition(reserved.reservation.id);
  if (queue.dispatcher.size() > 0 || !leaves_room(queue)) return nullptr;
  Need need{.partition = queue.id, .shape = {}, .now = now_, .ends = now_};
  if (placement_.free_slots(need) <= queue.pending.jobs) return nullptr;
  Job* first = nullptr;
  for (const std::string& account : reserved.accounts) {
    const auto jobs = by_account_.find(AccountId{account});
    if (jobs == by_account_.end()) continue;
    for (const JobId id : jobs->second) {
      Job& job = jobs_.at(id);
      if (first != nullptr && first->hold->job < id) break;
      if (job.phase != Phase::queued || job.presumed_leased ||
          job.partition != reserved.reservation.of)
        continue;
      need.shape = shape_of(job.hold);
      need.ends = now_ + job.hold->occupancy;
      if (placement_.pick(need, {})) first = &job;
    }
  }
  return first;
}

}  // namespace gpupool
