// The prebuilt addon loads wherever Node's own binaries do: glibc 2.28. A linker takes the newest version of each
// symbol that its machine has; here are the few that are newer, as functions of the addon's own (hidden, like
// everything in it) over the version that is as old as the architecture. glibc keeps those for ever. Only what ships is
// built so (binding.gyp): sanitizers want to see the real calls.
#if defined(RINGWAY_GLIBC_FLOOR)
#include <features.h>
#endif

#if defined(RINGWAY_GLIBC_FLOOR) && defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))

#include <pthread.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#if defined(__x86_64__)
#define RINGWAY_OLDEST "GLIBC_2.2.5"
#define RINGWAY_OLDEST_SETNAME "GLIBC_2.12"
#else
#define RINGWAY_OLDEST "GLIBC_2.17"
#define RINGWAY_OLDEST_SETNAME "GLIBC_2.17"
#endif
#define RINGWAY_BIND(name, version) __asm__(".symver old_" #name ", " #name "@" version)

extern "C" {

// Versions of 2.34, which moved libpthread into libc.

RINGWAY_BIND(pthread_create, RINGWAY_OLDEST);
int old_pthread_create(pthread_t* thread, const pthread_attr_t* attr, void* (*start)(void*), void* argument);
int pthread_create(pthread_t* thread, const pthread_attr_t* attr, void* (*start)(void*), void* argument) {
  return old_pthread_create(thread, attr, start, argument);
}

RINGWAY_BIND(pthread_join, RINGWAY_OLDEST);
int old_pthread_join(pthread_t thread, void** result);
int pthread_join(pthread_t thread, void** result) { return old_pthread_join(thread, result); }

RINGWAY_BIND(pthread_detach, RINGWAY_OLDEST);
int old_pthread_detach(pthread_t thread);
int pthread_detach(pthread_t thread) noexcept { return old_pthread_detach(thread); }

RINGWAY_BIND(pthread_once, RINGWAY_OLDEST);
int old_pthread_once(pthread_once_t* once, void (*routine)());
int pthread_once(pthread_once_t* once, void (*routine)()) { return old_pthread_once(once, routine); }

RINGWAY_BIND(pthread_key_create, RINGWAY_OLDEST);
int old_pthread_key_create(pthread_key_t* key, void (*destructor)(void*));
int pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) noexcept {
  return old_pthread_key_create(key, destructor);
}
// The name by which libstdc++ asks whether there are threads.
int __pthread_key_create(pthread_key_t* key, void (*destructor)(void*)) {
  return old_pthread_key_create(key, destructor);
}

RINGWAY_BIND(pthread_key_delete, RINGWAY_OLDEST);
int old_pthread_key_delete(pthread_key_t key);
int pthread_key_delete(pthread_key_t key) noexcept { return old_pthread_key_delete(key); }

RINGWAY_BIND(pthread_getspecific, RINGWAY_OLDEST);
void* old_pthread_getspecific(pthread_key_t key);
void* pthread_getspecific(pthread_key_t key) noexcept { return old_pthread_getspecific(key); }

RINGWAY_BIND(pthread_setspecific, RINGWAY_OLDEST);
int old_pthread_setspecific(pthread_key_t key, uintptr_t value);  // a number: nothing is read through it
int pthread_setspecific(pthread_key_t key, const void* value) noexcept {
  return old_pthread_setspecific(key, reinterpret_cast<uintptr_t>(value));
}

RINGWAY_BIND(pthread_setname_np, RINGWAY_OLDEST_SETNAME);
int old_pthread_setname_np(pthread_t thread, const char* name);
int pthread_setname_np(pthread_t thread, const char* name) noexcept { return old_pthread_setname_np(thread, name); }

// Younger than 2.28 altogether.

pid_t gettid() noexcept { return static_cast<pid_t>(syscall(SYS_gettid)); }

// libstdc++ asks it whether counts must be atomic. There are always threads here.
char __libc_single_threaded = 0;

// How the unwinder finds a frame's table: not at all. No exception is caught anywhere in the addon (-fno-exceptions),
// so that one that libstdc++ throws ends the process, as it does with tables.
int _dl_find_object(void*, void*) { return -1; }

// libstdc++'s random_device, which nothing here uses, wants it.
uint32_t arc4random() noexcept {
  uint32_t value = 0;
  while (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) {
  }
  return value;
}

}  // extern "C"

#endif
