/* A library that answers like NVIDIA's on one kind of device, chosen when it is compiled:
 *
 *   -DNAME="..."    the GPU's name
 *   -DGPUS=n        so many of them, one if not given
 *   -DINIT=n        what nvmlInit returns
 *   -DCALLS="..."   the file to which it appends the name of every call about a GPU
 *   -DGONE="..."    once this file is there, every call returns END
 *   -DEND=n         GPU lost if not given
 *
 * and a figure for each thing that it tells, in NVML's unit; without one the call is not supported:
 *
 *   -DENERGY=n      the energy counter starts at n mJ and grows by 7000 with every reading; at 0 it stays
 *   -DENERGY_OF=n   only the GPU of that index has the counter
 *   -DNO_ENERGY     the library is too old to have it
 *   -DUSAGE=n -DINSTANT=n -DAVERAGE=n -DLIMIT=n     power in mW: the call, two fields, the limit
 *   -DTAKEN=n -DPERIOD=n   time of the fields' first reading and from one to the next, in us
 *   -DUNFILLED=1    the call for fields succeeds and fills nothing in
 *   -DUTILISATION=n -DSM_CLOCK=n -DMEMORY_CLOCK=n -DTEMPERATURE=n -DTHROTTLE=n -DSTATE=n -DMIG=n -DPERSISTENCE=n
 *   -DMEMORY_USED=n -DMEMORY_TOTAL=n    in bytes
 *   -DPROCESSES="{pid,bytes},..."       those that compute; -DNO_PROCESSES: it tells that there are none
 *   -DCAPABILITY=major,minor
 *
 * Like the real one it leaves zeros where it refuses. The numbers are those of nvml.h.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
  SUCCESS = 0,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  INSUFFICIENT_SIZE = 7,
  GPU_IS_LOST = 15
};
enum { FIELD_POWER_AVERAGE = 185, FIELD_POWER_INSTANT = 186 };
enum { TYPE_UNSIGNED_INT = 1 };
enum { CLOCK_SM = 1, CLOCK_MEMORY = 2 };

typedef size_t Device;
typedef struct {
  unsigned gpu, memory;
} Utilisation;
typedef struct {
  unsigned version;
  unsigned long long total, reserved, free, used;
} Memory;
typedef struct {
  unsigned pid;
  unsigned long long bytes;
  unsigned gpu_instance, compute_instance;
} Process;
typedef struct {
  unsigned field, scope;
  long long taken, latency;
  int type, status;
  union {
    double number;
    unsigned whole;
    unsigned long long large;
  } value;
} Field;

#ifndef GPUS
#define GPUS 1
#endif
#ifndef INIT
#define INIT SUCCESS
#endif
#ifndef CALLS
#define CALLS "/dev/null"
#endif
#ifndef GONE
#define GONE ""
#endif
#ifndef END
#define END GPU_IS_LOST
#endif
#ifndef ENERGY
#define ENERGY -1
#endif
#ifndef ENERGY_OF
#define ENERGY_OF device - 1
#endif
#ifndef USAGE
#define USAGE -1
#endif
#ifndef INSTANT
#define INSTANT -1
#endif
#ifndef AVERAGE
#define AVERAGE -1
#endif
#ifndef LIMIT
#define LIMIT -1
#endif
#ifndef TAKEN
#define TAKEN 1000
#endif
#ifndef PERIOD
#define PERIOD 1000
#endif
#ifndef UNFILLED
#define UNFILLED 0
#endif
#ifndef UTILISATION
#define UTILISATION -1
#endif
#ifndef SM_CLOCK
#define SM_CLOCK -1
#endif
#ifndef MEMORY_CLOCK
#define MEMORY_CLOCK -1
#endif
#ifndef TEMPERATURE
#define TEMPERATURE -1
#endif
#ifndef THROTTLE
#define THROTTLE -1
#endif
#ifndef STATE
#define STATE -1
#endif
#ifndef MIG
#define MIG -1
#endif
#ifndef PERSISTENCE
#define PERSISTENCE -1
#endif
#ifndef MEMORY_USED
#define MEMORY_USED -1
#define MEMORY_TOTAL -1
#endif

/* What becomes of the call `name` for something that is told as `figure`. */
static int status(const char *name, long long figure) {
  FILE *calls = fopen(CALLS, "a");
  if (calls) {
    fprintf(calls, "%s\n", name);
    fclose(calls);
  }
  if (access(GONE, F_OK) == 0) return END;
  return figure < 0 ? NOT_SUPPORTED : SUCCESS;
}

static int tell(const char *name, long long figure, unsigned *into) {
  int answer = status(name, figure);
  *into = answer == SUCCESS ? (unsigned)figure : 0;
  return answer;
}

static int word(const char *words, char *into, unsigned length) {
  strncpy(into, words, length - 1);
  into[length - 1] = 0;
  return SUCCESS;
}

int nvmlInit_v2(void) { return INIT; }

int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
  return word("580.95.05", version, length);
}

int nvmlSystemGetNVMLVersion(char *version, unsigned length) {
  return word("13.580.95.05", version, length);
}

int nvmlSystemGetCudaDriverVersion_v2(int *version) {
  *version = 13000;
  return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = GPUS;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
  const unsigned count = GPUS;
  if (index >= count) return INVALID_ARGUMENT;
  if (access(GONE, F_OK) == 0) return END;
  *device = index + 1;
  return SUCCESS;
}

int nvmlDeviceGetName(Device device, char *name, unsigned length) {
  (void)device;
  return word(NAME, name, length);
}

#ifdef CAPABILITY
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
  const int version[] = {CAPABILITY};
  (void)device;
  *major = version[0];
  *minor = version[1];
  return SUCCESS;
}
#endif

#ifndef NO_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *millijoules) {
  static long long total = ENERGY;
  int answer = status("energy", device - 1 == ENERGY_OF ? ENERGY : -1);
  *millijoules = answer == SUCCESS ? (unsigned long long)total : 0;
  if (total > 0) total += 7000;
  return answer;
}
#endif

int nvmlDeviceGetPowerUsage(Device device, unsigned *milliwatts) {
  (void)device;
  return tell("usage", USAGE, milliwatts);
}

int nvmlDeviceGetEnforcedPowerLimit(Device device, unsigned *milliwatts) {
  (void)device;
  return tell("limit", LIMIT, milliwatts);
}

static void fill(Field *field, long long taken) {
  int is_instant = field->field == FIELD_POWER_INSTANT;
  field->type = TYPE_UNSIGNED_INT;
  field->status = is_instant ? tell("instant", INSTANT, &field->value.whole)
                             : tell("average", AVERAGE, &field->value.whole);
  if (field->status == SUCCESS) field->taken = taken;
}

int nvmlDeviceGetFieldValues(Device device, int count, Field *fields) {
  static long long taken = TAKEN;
  (void)device;
  for (int i = 0; i < count && !UNFILLED; i += 1) fill(&fields[i], taken);
  taken += PERIOD;
  return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(Device device, Utilisation *rates) {
  (void)device;
  rates->memory = 0;
  return tell("utilisation", UTILISATION, &rates->gpu);
}

int nvmlDeviceGetClockInfo(Device device, int clock, unsigned *megahertz) {
  (void)device;
  if (clock == CLOCK_SM) return tell("sm clock", SM_CLOCK, megahertz);
  if (clock == CLOCK_MEMORY) return tell("memory clock", MEMORY_CLOCK, megahertz);
  return INVALID_ARGUMENT;
}

int nvmlDeviceGetTemperature(Device device, int sensor, unsigned *degrees) {
  (void)device;
  if (sensor != 0) return INVALID_ARGUMENT;
  return tell("temperature", TEMPERATURE, degrees);
}

int nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *reasons) {
  int answer = status("throttle", THROTTLE);
  (void)device;
  *reasons = answer == SUCCESS ? (unsigned long long)THROTTLE : 0;
  return answer;
}

int nvmlDeviceGetPerformanceState(Device device, unsigned *state) {
  (void)device;
  return tell("state", STATE, state);
}

int nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
  (void)device;
  *pending = 0;
  return tell("mig", MIG, current);
}

int nvmlDeviceGetPersistenceMode(Device device, unsigned *mode) {
  (void)device;
  return tell("persistence", PERSISTENCE, mode);
}

int nvmlDeviceGetMemoryInfo_v2(Device device, Memory *memory) {
  int answer = status("memory", MEMORY_USED);
  int is_told = answer == SUCCESS;
  (void)device;
  if (memory->version != (sizeof(Memory) | 2u << 24)) return INVALID_ARGUMENT;
  memory->total = is_told ? (unsigned long long)MEMORY_TOTAL : 0;
  memory->used = is_told ? (unsigned long long)MEMORY_USED : 0;
  memory->free = memory->total - memory->used;
  memory->reserved = 0;
  return answer;
}

#if defined(PROCESSES) || defined(NO_PROCESSES)
#define TELLS_PROCESSES 0
#else
#define TELLS_PROCESSES -1
#endif

int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, Process *processes) {
#ifdef PROCESSES
  static const struct {
    unsigned pid;
    unsigned long long bytes;
  } running[] = {PROCESSES};
  const unsigned n_running = sizeof running / sizeof *running;
#else
  static const struct {
    unsigned pid;
    unsigned long long bytes;
  } running[1];
  const unsigned n_running = 0;
#endif
  int answer = status("processes", TELLS_PROCESSES);
  unsigned room = *count;
  (void)device;
  *count = answer == SUCCESS ? n_running : 0;
  if (answer != SUCCESS) return answer;
  if (room < n_running) return INSUFFICIENT_SIZE;
  for (unsigned i = 0; i < n_running; i += 1) {
    processes[i].pid = running[i].pid;
    processes[i].bytes = running[i].bytes;
  }
  return SUCCESS;
}
