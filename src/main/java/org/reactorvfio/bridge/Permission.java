package org.reactorvfio.bridge;

/**
 * What a remote user may do with an exported device, beyond what every user with a token may: ask for properties and counters, and
 * receive the signals of the vectors that the owner has armed.
 */
public enum Permission {
  /** Read the configuration space. */
  READ_CONFIG,
  /** Read other regions. Reading a device's register may change it. */
  READ_REGION,
  /** Write the configuration space and other regions: with that goes all that the device can do, DMA included. */
  WRITE,
  /** Reset the device, or its bus or slot. */
  RESET,
  /** Fire armed vectors from software. */
  TRIGGER,
  /** Read, change and probe features. */
  FEATURE,
  /** Enable and disable interrupts that the owner has not enabled. */
  INTERRUPTS
}
