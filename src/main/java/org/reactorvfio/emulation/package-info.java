/**
 * PCI functions that live in this process: no hardware, no privilege, no kernel module, and yet real eventfds and the kernel's
 * own rules and error numbers. A device is described, opened like any other, and driven from the other side:
 *
 * <pre>{@code
 * EmulatedDevice nic = EmulatedDevice.builder(0x1234, 0x5678)
 *     .memoryBar(0, 4096)
 *     .msix(8)
 *     .build();
 *
 * Mono.usingWhen(
 *     Vfio.open(nic),
 *     device -> device.config().enableBusMaster()
 *         .then(device.interrupts().msix().enable(8))
 *         .thenMany(device.interrupts().msix().vector(3))
 *         .doOnSubscribe(s -> nic.raiseMsix(3)) // what the hardware would do
 *         .next(),
 *     VfioDevice::close);
 * }</pre>
 */
@NullMarked
package org.reactorvfio.emulation;

import org.jspecify.annotations.NullMarked;
