/* A library that answers like NVIDIA's on one kind of device, chosen when it is compiled:
 *
 *   -DNAME="..."    the GPU's name
 *   -DENERGY=n      its energy counter starts at n mJ and grows by 7000 with every reading; without: not supported
 *   -DNO_ENERGY     the library is too old to have the counter
 *   -DPOWER=n       it draws n mW; without: not supported
 *   -DGPUS=n        so many of them, one if not given
 *   -DINIT=n        what nvmlInit returns
 *   -DEND=n -DREADINGS=m   after m readings all others return n
 *
 * Like the real one it leaves a zero where it refuses. The numbers are those of nvml.h.
 */
#include <stddef.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };

typedef size_t Device;

#ifndef ENERGY
#define ENERGY -1
#endif
#ifndef POWER
#define POWER -1
#endif
#ifndef GPUS
#define GPUS 1
#endif
#ifndef INIT
#define INIT SUCCESS
#endif
#ifndef END
#define END SUCCESS
#define READINGS 0
#endif

/* The status of one more reading of a figure. */
static int status(long long figure) {
  static unsigned readings;
  if (figure < 0) return NOT_SUPPORTED;
  if (readings == READINGS) return END;
  readings += 1;
  return SUCCESS;
}

int nvmlInit_v2(void) { return INIT; }

int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
  *count = GPUS;
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
  if (index >= GPUS) return INVALID_ARGUMENT;
  *device = index + 1;
  return SUCCESS;
}

int nvmlDeviceGetName(Device device, char *name, unsigned length) {
  (void)device;
  strncpy(name, NAME, length - 1);
  name[length - 1] = 0;
  return SUCCESS;
}

#ifndef NO_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *millijoules) {
  static long long total = ENERGY;
  int answer = status(ENERGY);
  (void)device;
  *millijoules = answer == SUCCESS ? (unsigned long long)total : 0;
  total += 7000;
  return answer;
}
#endif

int nvmlDeviceGetPowerUsage(Device device, unsigned *milliwatts) {
  int answer = status(POWER);
  (void)device;
  *milliwatts = answer == SUCCESS ? (unsigned)POWER : 0;
  return answer;
}
