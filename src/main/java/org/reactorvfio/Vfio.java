package org.reactorvfio;

import java.net.URI;
import java.nio.file.Path;
import java.time.Duration;
import java.util.UUID;
import org.reactorvfio.bridge.VfioRemote;
import org.reactorvfio.discovery.DeviceChange;
import org.reactorvfio.discovery.Needs;
import org.reactorvfio.discovery.OtherDevice;
import org.reactorvfio.discovery.PciFunction;
import org.reactorvfio.kernel.DeviceWatch;
import org.reactorvfio.kernel.Doctor;
import org.reactorvfio.kernel.KernelTransports;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.core.scheduler.Schedulers;
import reactor.util.Logger;
import reactor.util.Loggers;

/**
 * Opens devices. Each method only describes the opening: it happens at subscription, on a thread that may block, and a
 * cancellation or a failure leaves nothing open. Use {@link Mono#usingWhen} with {@link VfioDevice#close()} to have the device
 * closed in every ending.
 */
public final class Vfio {
  private static final Logger LOG = Loggers.getLogger(Vfio.class);

  private Vfio() {}

  /**
   * Opens a PCI function through the kernel, with the {@linkplain VfioOptions#defaults() defaults}.
   *
   * @param address the function's address; it must be bound to a VFIO driver such as vfio-pci
   * @return the open device. Failures are {@link VfioException} subtypes that say what to do
   */
  public static Mono<VfioDevice> open(PciAddress address) {
    return open(address, VfioOptions.defaults());
  }

  /**
   * Opens a PCI function through the kernel.
   *
   * @param address the function's address; it must be bound to a VFIO driver such as vfio-pci
   * @param options how to open it
   * @return the open device. Failures are {@link VfioException} subtypes that say what to do
   */
  public static Mono<VfioDevice> open(PciAddress address, VfioOptions options) {
    return open(KernelTransports.of(address, options), options);
  }

  /**
   * Opens a mediated device (mdev) through the kernel, with the {@linkplain VfioOptions#defaults() defaults}.
   *
   * @param uuid the device's name; it must have been made ({@code mdev_supported_types/<type>/create} of its parent)
   * @return the open device. Failures are {@link VfioException} subtypes that say what to do
   */
  public static Mono<VfioDevice> openMdev(UUID uuid) {
    return openMdev(uuid, VfioOptions.defaults());
  }

  /**
   * Opens a mediated device (mdev) through the kernel.
   *
   * @param uuid the device's name; it must have been made ({@code mdev_supported_types/<type>/create} of its parent)
   * @param options how to open it
   * @return the open device. Failures are {@link VfioException} subtypes that say what to do
   */
  public static Mono<VfioDevice> openMdev(UUID uuid, VfioOptions options) {
    return open(KernelTransports.of(uuid, options), options);
  }

  /**
   * Opens a device on any bus through the kernel: a platform device, for example, which {@code vfio-platform} offers.
   *
   * @param sysfsDevice the device's directory in sysfs, or a link to it, such as {@code
   *     /sys/bus/platform/devices/fff51000.ethernet}; it must be bound to a VFIO driver
   * @param options how to open it
   * @return the open device; if {@link org.reactorvfio.operations.DeviceInfo#pci()} says no, without a configuration space and
   *     with regions and interrupts that its driver numbers. Failures are {@link VfioException} subtypes that say what to do
   */
  public static Mono<VfioDevice> open(Path sysfsDevice, VfioOptions options) {
    return open(KernelTransports.of(sysfsDevice, options), options);
  }

  /**
   * Opens whatever a transport reaches, with the {@linkplain VfioOptions#defaults() defaults}: an emulated device, for example.
   *
   * @param transport the way to the device
   * @return the open device
   */
  public static Mono<VfioDevice> open(VfioTransport transport) {
    return open(transport, VfioOptions.defaults());
  }

  /**
   * Opens whatever a transport reaches.
   *
   * @param transport the way to the device
   * @param options how to open it; its back end is for the kernel only
   * @return the open device
   */
  public static Mono<VfioDevice> open(VfioTransport transport, VfioOptions options) {
    return options
        .addressSpace()
        .map(transport::open)
        .orElseGet(transport::open)
        .flatMap(operations -> VfioDevice.over(operations, options))
        .doOnDiscard(VfioOperations.class, operations -> forget(operations.close()))
        .doOnDiscard(VfioDevice.class, device -> forget(device.close()));
  }

  /**
   * Names a process that exports devices, to open them from there: {@code Vfio.open(Vfio.remote(uri).withToken(token).device(name))}.
   * Needs {@code reactor-netty-http} and {@code jackson-core}.
   *
   * @param uri where its {@link org.reactorvfio.bridge.VfioBridge} is: {@code http://host:port}, {@code https://host:port} or {@code
   *     unix:///path}
   * @return the way to its devices
   */
  public static VfioRemote remote(URI uri) {
    return VfioRemote.at(uri);
  }

  /**
   * Opens a device through descriptors that another process opened and passed on: a device of {@code /dev/vfio/devices} and an
   * iommufd. The library works on duplicates; the caller's descriptors stay the caller's to close.
   *
   * @param name a name for messages, such as the device's PCI address
   * @param deviceFd the device's descriptor
   * @param iommuFd the iommufd's descriptor
   * @param options how to open it
   * @return the open device
   */
  public static Mono<VfioDevice> openCdev(
      String name, int deviceFd, int iommuFd, VfioOptions options) {
    return open(KernelTransports.ofCdev(name, deviceFd, iommuFd, options), options);
  }

  /**
   * Opens a device through descriptors that another process opened and passed on: a group of {@code /dev/vfio} and a container.
   * The library works on duplicates; the caller's descriptors stay the caller's to close.
   *
   * @param address the device's address
   * @param groupFd the group's descriptor
   * @param containerFd the container's descriptor
   * @param options how to open it
   * @return the open device
   */
  public static Mono<VfioDevice> openGroup(
      PciAddress address, int groupFd, int containerFd, VfioOptions options) {
    return open(KernelTransports.ofGroup(address, groupFd, containerFd, options), options);
  }

  /**
   * Lists the PCI functions of this machine with what stands in the way of opening each. Opens nothing, needs no rights.
   *
   * @return the functions, in the order of their addresses, as they are at subscription
   */
  public static Flux<PciFunction> devices() {
    return devices(Needs.LITTLE);
  }

  /**
   * Lists the PCI functions of this machine with what stands in the way of opening and using each.
   *
   * @param needs what the application is going to use
   * @return the functions, in the order of their addresses, as they are at subscription
   */
  public static Flux<PciFunction> devices(Needs needs) {
    return Flux.defer(() -> Flux.fromIterable(Doctor.HOST.functions()))
        .map(address -> Doctor.HOST.examine(address, needs))
        .subscribeOn(Schedulers.boundedElastic());
  }

  /**
   * Lists the devices of this machine that are not PCI and that a VFIO driver has, with what stands in the way of opening each;
   * mediated devices whether or not their driver has them. Opens nothing, needs no rights.
   *
   * @return the devices, as they are at subscription
   */
  public static Flux<OtherDevice> otherDevices() {
    return Flux.defer(() -> Flux.fromIterable(Doctor.HOST.others(Needs.LITTLE)))
        .subscribeOn(Schedulers.boundedElastic());
  }

  /**
   * Tells, before the first open, what will fail and how to mend it. Opens nothing, needs no rights.
   *
   * @param address the function that is to be opened; one that is not there is a finding too
   * @param needs what the application is going to use
   * @return the function with its findings; its {@code toString()} is a report for a person
   */
  public static Mono<PciFunction> examine(PciAddress address, Needs needs) {
    return Mono.fromCallable(() -> Doctor.HOST.examine(address, needs))
        .subscribeOn(Schedulers.boundedElastic());
  }

  /**
   * Tells of PCI functions that come, go, or get another driver, by looking at sysfs again and again: that needs no rights, and
   * misses what is undone between two looks.
   *
   * @param interval how often to look
   * @return the changes; first, every function that is there is {@link DeviceChange.Kind#ADDED}
   */
  public static Flux<DeviceChange> changes(Duration interval) {
    return DeviceWatch.over(Doctor.HOST, interval);
  }

  private static void forget(Mono<Void> close) {
    close.subscribe(null, e -> LOG.warn("closing a device that nobody waited for failed", e));
  }
}
