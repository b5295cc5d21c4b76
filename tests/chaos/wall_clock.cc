// Gives a process a wall clock that can be set while it runs: loaded with LD_PRELOAD.
//
// $WALL_CLOCK_FOLDER holds a file for each Python module that is run with -m (learner,
// actor.evaluator, ...): a signed 64-bit number of nanoseconds that are added to CLOCK_REALTIME. It is
// mapped, so a change is seen at once. Monotonic clocks stay as they are, as when a clock is set.
//
// Whoever waits for a time of the wall clock is woken at least every 50 ms to look again, so that it
// waits longer or shorter after a jump, as the kernel would have it: condition variables, semaphores
// and futexes. Programs that enter the kernel without libc (wandb's service is in Go) see no jump.

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kLook = kSecond / 20;
// Later than any monotonic clock, which counts from the machine's start, and earlier than any date.
constexpr int64_t kFirstDate = kSecond * 1'000'000'000;

std::atomic<int64_t> no_shift{0};
std::atomic<std::atomic<int64_t>*> shift{&no_shift};

int64_t Nanoseconds(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

timespec Timespec(int64_t nanoseconds) {
  return {nanoseconds / kSecond, nanoseconds % kSecond};
}

// The next definition of a function, libc's. The version where an older one waits in another way.
template <typename Function>
Function Real(Function, const char* name, const char* version = nullptr) {
  void* found = version == nullptr ? nullptr : dlvsym(RTLD_NEXT, name, version);
  return reinterpret_cast<Function>(found != nullptr ? found : dlsym(RTLD_NEXT, name));
}

int64_t TrueTime() {
  static const auto real = Real(&clock_gettime, "clock_gettime");
  timespec now;
  real(CLOCK_REALTIME, &now);
  return Nanoseconds(now);
}

int64_t Shift() { return shift.load()->load(std::memory_order_relaxed); }

bool IsDate(const timespec* time) { return time != nullptr && Nanoseconds(*time) > kFirstDate; }

// How long to wait now for a date of the shifted clock, and whether that will have been all.
struct Wait {
  explicit Wait(const timespec& deadline) {
    const int64_t now = TrueTime(), left = Nanoseconds(deadline) - Shift() - now;
    is_last = left <= kLook;
    until = Timespec(is_last ? now + left : now + kLook);
  }
  bool is_last;
  timespec until;  // of the true clock
};

// The module that this Python runs, "launcher" for others.
void FindModule(char* module, size_t size) {
  strncpy(module, "launcher", size);
  char line[4096] = {};
  const int file = open("/proc/self/cmdline", O_RDONLY);
  if (file < 0) return;
  const ssize_t length = read(file, line, sizeof(line) - 1);
  close(file);
  for (const char* word = line; word < line + length; word += strlen(word) + 1) {
    const char* next = word + strlen(word) + 1;
    if (strcmp(word, "-m") == 0 && next < line + length) {
      strncpy(module, next, size - 1);
      return;
    }
  }
}

__attribute__((constructor)) void FindShift() {
  const char* folder = getenv("WALL_CLOCK_FOLDER");
  if (folder == nullptr) return;
  char module[64] = {}, path[4096] = {};
  FindModule(module, sizeof(module));
  if (strlen(folder) + strlen(module) + 2 > sizeof(path)) return;
  strcat(strcat(strcpy(path, folder), "/"), module);
  const int file = open(path, O_RDONLY);
  if (file < 0) return;
  void* place = mmap(nullptr, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (place != MAP_FAILED) shift = static_cast<std::atomic<int64_t>*>(place);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const auto real = Real(&clock_gettime, "clock_gettime");
  const int result = real(clock, time);
  const bool is_wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && is_wall) *time = Timespec(Nanoseconds(*time) + Shift());
  return result;
}

int gettimeofday(timeval* time, void*) noexcept {
  const int64_t now = TrueTime() + Shift();
  *time = {now / kSecond, now % kSecond / 1000};
  return 0;
}

time_t time(time_t* place) noexcept {
  const time_t now = (TrueTime() + Shift()) / kSecond;
  if (place != nullptr) *place = now;
  return now;
}

// Spurious wake-ups are allowed, so it returns as if woken where it only looks again.
int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                           const timespec* deadline) {
  static const auto real = Real(&pthread_cond_timedwait, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!IsDate(deadline)) return real(condition, mutex, deadline);
  const Wait wait(*deadline);
  const int result = real(condition, mutex, &wait.until);
  return result == ETIMEDOUT && !wait.is_last ? 0 : result;
}

int sem_timedwait(sem_t* semaphore, const timespec* deadline) {
  static const auto real = Real(&sem_timedwait, "sem_timedwait");
  if (!IsDate(deadline)) return real(semaphore, deadline);
  while (true) {
    const Wait wait(*deadline);
    const int result = real(semaphore, &wait.until);
    if (result == 0 || errno != ETIMEDOUT || wait.is_last) return result;
  }
}

// Abseil's waits. Interrupted, they look at their clock and wait again.
long syscall(long number, ...) noexcept {
  static const auto real = Real(&syscall, "syscall");
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  const auto* deadline = reinterpret_cast<const timespec*>(a[3]);
  const bool waits_for_date =
      number == SYS_futex && (a[1] & FUTEX_CLOCK_REALTIME) != 0 && IsDate(deadline);
  if (!waits_for_date) return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  const Wait wait(*deadline);
  const long result = real(number, a[0], a[1], a[2], &wait.until, a[4], a[5]);
  if (result == -1 && errno == ETIMEDOUT && !wait.is_last) errno = EINTR;
  return result;
}

}  // extern "C"
