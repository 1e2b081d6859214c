package org.reactorvfio.micrometer;

import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.ArrayList;
import java.util.List;

/**
 * Meters of all devices that are open in this process, now and later, of their interrupts and of the loops that serve them.
 * docs/observability.md lists them.
 *
 * <p>Nothing is measured for their sake: what the library counts in any case is read when a registry asks for it. The meters of a
 * device come with its opening and go with its closing; those of a loop stay while a device uses it. Devices, and loops, that have
 * a name in common share their meters, which then tell the sum.
 *
 * <p>Any thread.
 */
// Whoever uses it has Micrometer on the module path; nobody else needs it there to compile.
@SuppressWarnings("exports")
public final class VfioMetrics implements MeterBinder, AutoCloseable {
  private final Tags tags;
  private final List<BoundMeters> bound = new ArrayList<>();

  /** Makes a binder whose meters have no tags but their own. */
  public VfioMetrics() {
    this(Tags.empty());
  }

  /**
   * Makes a binder.
   *
   * @param tags further tags of all meters
   */
  public VfioMetrics(Iterable<Tag> tags) {
    this.tags = Tags.of(tags);
  }

  /**
   * Puts the meters into a registry, until {@link #close()}.
   *
   * @param registry the registry; one binder can have several
   */
  @Override
  public void bindTo(MeterRegistry registry) {
    BoundMeters meters = new BoundMeters(registry, tags);
    synchronized (bound) {
      bound.add(meters);
    }
  }

  /** Takes the meters out of all registries again. Closing twice does nothing. */
  @Override
  public void close() {
    synchronized (bound) {
      bound.forEach(BoundMeters::dispose);
      bound.clear();
    }
  }
}
