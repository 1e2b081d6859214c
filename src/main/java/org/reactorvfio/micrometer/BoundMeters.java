package org.reactorvfio.micrometer;

import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tags;
import java.util.HashMap;
import java.util.Map;
import org.reactorvfio.VfioDevice;
import org.reactorvfio.census.OpenDevices;
import org.reactorvfio.irq.InterruptCounts;
import org.reactorvfio.irq.InterruptLoop;
import org.reactorvfio.operations.Irqs;
import reactor.core.Disposable;

/** The meters in one registry: those of the process, and those of devices and loops, which come and go. */
final class BoundMeters implements OpenDevices.Listener, Disposable {
  private final MeterRegistry registry;
  private final Tags tags;
  private final Namesakes<Class<OpenDevices>> process;
  private final Map<Interrupt, Namesakes<InterruptsOfDevice>> interrupts = new HashMap<>();
  private final Map<String, Namesakes<InterruptLoop>> loops = new HashMap<>();
  private final Map<VfioDevice, InterruptLoop> open = new HashMap<>();
  private final Disposable listening;
  private boolean disposed;

  /** An interrupt index of devices with a name. */
  private record Interrupt(String device, String name) {}

  /** One of them. */
  private record InterruptsOfDevice(VfioDevice device, int index) {
    InterruptCounts counts() {
      return device.interrupts().counts(index);
    }
  }

  BoundMeters(MeterRegistry registry, Tags tags) {
    this.registry = registry;
    this.tags = tags;
    this.process = new Namesakes<Class<OpenDevices>>(registry, tags)
        .gauge("vfio.devices.open", "devices", "Open devices", here -> OpenDevices.size())
        .gauge(
            "vfio.descriptors.open",
            "descriptors",
            "File descriptors that the library has open",
            here -> OpenDevices.descriptors())
        .gauge(
            "vfio.mappings",
            "mappings",
            "Mappings of device regions and of DMA memory",
            here -> OpenDevices.mappings())
        .gauge(
            "vfio.mappings.size",
            "bytes",
            "What the mappings span",
            here -> OpenDevices.mappedBytes());
    process.add(OpenDevices.class);
    this.listening = OpenDevices.listen(this);
  }

  @Override
  public synchronized void opened(VfioDevice device, InterruptLoop loop) {
    if (disposed) {
      return;
    }
    open.put(device, loop);
    for (int index = 0; index < indices(device); index++) {
      if (device.interrupts().counts(index).vectors() > 0) {
        interrupts
            .computeIfAbsent(interrupt(device, index), this::interruptMeters)
            .add(new InterruptsOfDevice(device, index));
      }
    }
    loops.computeIfAbsent(loop.name(), this::loopMeters).add(loop);
  }

  @Override
  public synchronized void closed(VfioDevice device) {
    InterruptLoop loop = open.remove(device);
    if (loop == null) {
      return;
    }
    for (int index = 0; index < indices(device); index++) {
      remove(interrupts, interrupt(device, index), new InterruptsOfDevice(device, index));
    }
    remove(loops, loop.name(), loop);
  }

  private static <K, T> void remove(Map<K, Namesakes<T>> all, K key, T member) {
    Namesakes<T> namesakes = all.get(key);
    if (namesakes != null && namesakes.remove(member)) {
      all.remove(key);
    }
  }

  private static int indices(VfioDevice device) {
    int count = device.info().irqCount();
    return device.info().pci() ? Math.min(count, Irqs.REQ + 1) : count;
  }

  private static Interrupt interrupt(VfioDevice device, int index) {
    return new Interrupt(
        device.name(), device.info().pci() ? Irqs.name(index) : "IRQ index " + index);
  }

  private Namesakes<InterruptsOfDevice> interruptMeters(Interrupt interrupt) {
    return new Namesakes<InterruptsOfDevice>(
            registry, tags.and("device", interrupt.device(), "interrupt", interrupt.name()))
        .counter(
            "vfio.interrupts.signals",
            "signals",
            "Signals that were taken from the kernel",
            each -> each.counts().signals())
        .counter(
            "vfio.interrupts.events",
            "events",
            "Elements that subscribers were given",
            each -> each.counts().events())
        .counter(
            "vfio.interrupts.stalls",
            "stalls",
            "Times that signals had to wait because no subscriber had demand",
            each -> each.counts().stalls())
        .ratio(
            "vfio.interrupts.coalescing",
            "ratio",
            "Signals for each element, on average",
            all -> all.sum(each -> each.counts().counted())
                / all.sum(each -> each.counts().events()))
        .gauge(
            "vfio.interrupts.armed",
            "vectors",
            "Vectors that are armed",
            each -> each.counts().armed())
        .gauge(
            "vfio.interrupts.subscribers",
            "subscribers",
            "Subscribers of the armed vectors",
            each -> each.counts().subscribers());
  }

  private Namesakes<InterruptLoop> loopMeters(String name) {
    return new Namesakes<InterruptLoop>(registry, tags.and("loop", name))
        .counter(
            "vfio.loop.wakeups",
            "wakeups",
            "Times that the loop found something to do",
            loop -> loop.counts().wakeups())
        .counter(
            "vfio.loop.ready",
            "vectors",
            "Vectors that were ready at the wakeups",
            loop -> loop.counts().ready())
        .ratio(
            "vfio.loop.ready.per.wakeup",
            "ratio",
            "Vectors for each wakeup, on average",
            all -> all.sum(loop -> loop.counts().ready())
                / all.sum(loop -> loop.counts().wakeups()));
  }

  @Override
  public void dispose() {
    listening.dispose();
    synchronized (this) {
      disposed = true;
      process.removeMeters();
      interrupts.values().forEach(Namesakes::removeMeters);
      loops.values().forEach(Namesakes::removeMeters);
      interrupts.clear();
      loops.clear();
      open.clear();
    }
  }
}
